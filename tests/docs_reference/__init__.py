"""What the pages say of settings, job types, commands and errors is made from the code here.

`python -m tests.unit.test_docs` writes it between `<!-- name -->` and `<!-- end -->` of each page.
"""
