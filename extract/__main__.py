"""`python -m extract`: the extraction of one model as a plain command; what it does is in `extract.job.command`."""

from extract.job.command import app

if __name__ == "__main__":
    app()
