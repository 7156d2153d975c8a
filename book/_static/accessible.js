// What the theme and its extensions leave out: names that say what is seen, and regions that the keyboard scrolls.
"use strict";

document.addEventListener("DOMContentLoaded", () => {
  const all = (selector, change) => document.querySelectorAll(selector).forEach(change);
  // Their visible text is the better name.
  all("summary[aria-label], .search-button-field[aria-label]", element => element.removeAttribute("aria-label"));
  all(".pst-scrollable-table-container, div.output, div.math.notranslate", box => {
    if (box.scrollWidth > box.clientWidth) box.tabIndex = 0;
  });
  // Sphinx writes the parameters of a long signature as a list of definitions without terms.
  all("dt.sig > dl, dt.sig > dl > dd", element => element.setAttribute("role", "none"));
  // Sphinx nests a list in a list, not in the item before it.
  all("ul > ul", list => list.previousElementSibling?.append(list));
  all(".citation-list > .citation", element => element.setAttribute("role", "listitem")); // theirs is no list's child
});
