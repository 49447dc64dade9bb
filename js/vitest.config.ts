import { playwright } from "@vitest/browser-playwright";
import { defineConfig } from "vitest/config";

// The Makefile names the browser; without it Playwright looks for one of its own.
const chrome = (globalThis as { process?: { env: Record<string, string | undefined> } }).process
  ?.env.CHROME;

const launchOptions = {
  args: ["--no-sandbox", "--disable-dev-shm-usage", "--disable-gpu", "--no-first-run"],
  ...(chrome ? { executablePath: chrome } : {}),
};

export default defineConfig({
  test: {
    projects: [
      {
        test: {
          name: "unit",
          include: ["tests/**/*.test.ts", "src/**/*.test.ts"],
          exclude: ["**/*.browser.test.ts", "node_modules/**"],
          environment: "jsdom",
        },
      },
      {
        test: {
          name: "browser",
          include: ["tests/**/*.browser.test.ts", "src/**/*.browser.test.ts"],
          browser: {
            enabled: true,
            headless: true,
            screenshotFailures: false,
            provider: playwright({ launchOptions }),
            instances: [{ browser: "chromium" }],
          },
        },
      },
    ],
  },
});
