"""The atlas: one self-contained page of all maps, built from the warehouse's tables alone.

What the page tells is gathered in `library`, `models` and `telling`, packed in `packing`, drawn by charts that `specs`
defines, and put together in `building`. What runs in the browser lies in `page/`, as plain CSS and JavaScript.
"""
