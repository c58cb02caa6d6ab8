# SPDX-License-Identifier: BSD-2-Clause
"""Debian's Chromium without a window, for the tests of the site: of a given width, light or dark, with no network."""
import os

from selenium import webdriver
from selenium.webdriver.chrome.options import Options
from selenium.webdriver.chrome.service import Service
from selenium.webdriver.support.ui import WebDriverWait

TREE = os.path.dirname(os.path.dirname(os.path.dirname(os.path.abspath(__file__))))
SITE = os.path.join(TREE, "build", "site")
LIMIT_SECONDS = 30


class Browser(webdriver.Chrome):
    def __init__(self):
        options = Options()
        # The sandbox wants a user that is not root; a name that cannot be found stands for a machine without a network.
        for argument in ("headless=new", "no-sandbox", "disable-dev-shm-usage", "disable-gpu", "hide-scrollbars",
                         "host-resolver-rules=MAP * ~NOTFOUND"):
            options.add_argument("--" + argument)
        options.set_capability("goog:loggingPrefs", {"browser": "ALL"})
        super().__init__(service=Service("/usr/bin/chromedriver"), options=options)

    def look(self, width=1280, height=900, dark=False):
        """How wide the page is shown, and in which colours."""
        self.execute_cdp_cmd("Emulation.setDeviceMetricsOverride",
                             {"width": width, "height": height, "deviceScaleFactor": 1, "mobile": False})
        scheme = {"name": "prefers-color-scheme", "value": "dark" if dark else "light"}
        self.execute_cdp_cmd("Emulation.setEmulatedMedia", {"features": [scheme]})

    def open(self, page, fragment=""):
        """A page of the site, from its file."""
        self.get(f"file://{SITE}/{page}{fragment}")

    def one(self, selector):
        return self.find_element("css selector", selector)

    def all(self, selector):
        return self.find_elements("css selector", selector)

    def wait(self, condition):
        """Until it holds, and what it is then."""
        return WebDriverWait(self, LIMIT_SECONDS, poll_frequency=0.05).until(lambda _: condition())

    def js(self, script, *arguments):
        return self.execute_script("return " + script, *arguments)

    def complaints(self):
        """What the page wrote on the console since the last call."""
        return [entry["message"] for entry in self.get_log("browser")]

    def too_wide(self):
        """Columns by which the page is wider than the window: then it scrolls to the side."""
        return self.js("document.documentElement.scrollWidth - document.documentElement.clientWidth")

    def ground(self):
        """The page's background: red, green, blue."""
        colour = self.js("getComputedStyle(document.body).backgroundColor")
        return [int(part) for part in colour[colour.index("(") + 1 : -1].split(",")[:3]]

    def unnamed(self):
        """Controls that a screen reader could not name."""
        return self.js("""[...document.querySelectorAll("main button, main input, main select, main textarea")]
            .filter((e) => !e.innerText.trim() && !e.ariaLabel && !e.labels?.length)
            .map((e) => e.outerHTML)""")
