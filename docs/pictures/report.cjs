// Takes the pictures of an HTML report, in light and dark. Called by docs/pictures/make.
"use strict";
const fs = require("node:fs");
const path = require("node:path");
const { pathToFileURL } = require("node:url");
const { chromium } = require("playwright-core");

const [, , report, out] = process.argv;

(async () => {
  const browser = await chromium.launch({ executablePath: process.env.CHROMIUM, args: ["--no-sandbox", "--disable-gpu", "--disable-dev-shm-usage"] });
  for (const colorScheme of ["light", "dark"]) {
    const page = await browser.newPage({ viewport: { width: 1240, height: 940 }, colorScheme });
    await page.goto(pathToFileURL(report).href);
    // The chain from the provider to the restarted workload.
    await page.locator("#body button", { hasText: "payments/db" }).click();
    await page.evaluate(() => {
      document.activeElement.blur();
      // The picture shows all sections, so the table is short.
      document.getElementById("window").style.height = "338px";
      scrollTo(0, 0);
    });
    // What the picture shows, so that a check can compare it without comparing pixels.
    if (colorScheme === "light") fs.writeFileSync(path.join(out, "report.txt"), (await page.evaluate(() => document.body.innerText)) + "\n");
    await page.screenshot({ path: path.join(out, "report-" + colorScheme + ".png"), fullPage: true });
  }
  await browser.close();
})();
