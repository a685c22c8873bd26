// Dark or light: as the system has it, until somebody chooses; what was chosen is kept, where the browser keeps anything.

const KEPT_THEME = "vesalius-atlas-theme";
const prefersDark = matchMedia("(prefers-color-scheme: dark)");
const systemTheme = () => (prefersDark.matches ? "dark" : "light");

/** The theme that was chosen; nothing where none was, or where a page from a disk may keep nothing. */
function keptTheme() {
  try {
    const kept = localStorage.getItem(KEPT_THEME);
    return ["dark", "light"].includes(kept) ? kept : null;
  } catch {
    return null;
  }
}

/** Choose a theme, and keep it; the one that the system has is followed, not kept. */
function chooseTheme(name) {
  try {
    if (name === systemTheme()) localStorage.removeItem(KEPT_THEME);
    else localStorage.setItem(KEPT_THEME, name);
  } catch {
    // It holds until the page is closed.
  }
  return setTheme(name);
}

/** Begin as was chosen or as the system has it, and go along with the system where nothing was chosen. */
function followTheme() {
  setTheme(keptTheme() ?? systemTheme());
  prefersDark.addEventListener("change", () => setTheme(keptTheme() ?? systemTheme()));
}

function setTheme(name) {
  if (document.documentElement.dataset.theme === name && current) return undefined;
  document.documentElement.dataset.theme = name;
  document.getElementById("theme").textContent = name === "dark" ? "Light" : "Dark";
  return current ? draw() : undefined;
}
