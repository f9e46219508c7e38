"""---
title: Index of names
description: Every public name, in a line each, with the chapter that defines it
toc: false
repo-actions: false
---"""
from site_pages import api

print(api())
