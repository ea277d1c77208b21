/* The classes as bars, in words, and read out. */

const MOST_BARS = 10;

class Result {
  /** @param {{classes: number, classNames: string[], scale: number}} about */
  constructor(about) {
    this.about = about;
    this.verdict = document.getElementById("verdict");
    this.glance = document.getElementById("glance");
    this.announcement = document.getElementById("announcement");
    this.list = document.getElementById("bars");
    this.ranked = about.classes > MOST_BARS;
    this.rows = Array.from({ length: Math.min(about.classes, MOST_BARS) }, () => this.row());
    this.clear();
  }

  row() {
    const item = this.list.appendChild(document.createElement("li"));
    const name = item.appendChild(labelled("span", "class-name", ""));
    const track = item.appendChild(labelled("span", "track", ""));
    track.setAttribute("aria-hidden", "true");
    const bar = track.appendChild(labelled("span", "bar", ""));
    return { item, name, bar, share: item.appendChild(labelled("span", "share", "")) };
  }

  clear() {
    this.verdict.replaceChildren("Nothing to see yet.");
    this.glance.textContent = "";
    this.rows.forEach((row, i) => this.fill(row, this.about.classNames[i], 0, false, "–"));
    this.announce("");
  }

  /** @param {Int32Array} sums of all classes. */
  show(sums) {
    const { classNames, scale } = this.about;
    const shares = softmax(sums, scale);
    const order = [...shares.keys()].sort((a, b) => sums[b] - sums[a] || a - b);
    const best = order[0];
    this.rows.forEach((row, i) => {
      const index = this.ranked ? order[i] : i;
      this.fill(row, classNames[index], shares[index], index === best, percent(shares[index]));
      row.item.title = `sum ${sums[index].toLocaleString("en")}`;
    });
    this.verdict.replaceChildren(
      labelled("strong", classNames[best].length > 12 ? "long" : "", classNames[best]),
      labelled("span", "share", percent(shares[best])),
    );
    this.glance.textContent = classNames[best];
    this.glance.classList.toggle("short", classNames[best].length < 3);
    this.announce(`${classNames[best]}, ${percent(shares[best])}`);
  }

  fill(row, name, share, best, text) {
    row.name.textContent = name;
    row.bar.style.transform = `scaleX(${share})`;
    row.item.classList.toggle("best", best);
    row.share.textContent = text;
  }

  /* Not during a stroke: a voice would never end. */
  announce(text) {
    clearTimeout(this.waiting);
    this.waiting = setTimeout(() => (this.announcement.textContent = text), 600);
  }
}

/**
 * Probabilities from integer sums.
 * @param {Int32Array} sums
 * @param {number} scale of the sums.
 * @returns {number[]}
 */
function softmax(sums, scale) {
  const most = Math.max(...sums);
  const odds = Array.from(sums, (sum) => Math.exp(scale * (sum - most)));
  const total = odds.reduce((a, b) => a + b, 0);
  return odds.map((odd) => odd / total);
}

function percent(share) {
  return `${(100 * share).toFixed(1)} %`;
}
