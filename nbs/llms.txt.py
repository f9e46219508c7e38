"""---
---"""
from site_pages import llms

print(llms())
