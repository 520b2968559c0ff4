"""PYTHONPATH=sdk python3 -m unittest"""

import unittest

from plugin import @Type@
from watchkeeper_sdk import Error, testing

PLUGIN = testing.source(@Type@)


class Test(unittest.TestCase):
    def test_every_sample_becomes_what_is_expected(self) -> None:
        # UPDATE_EXPECT=1 writes what comes out; read the difference.
        testing.samples(PLUGIN, "samples")

    def test_a_mistake_is_named_by_its_place(self) -> None:
        with self.assertRaisesRegex(Error, r"^alerts\[0\]\.id: must be a text$"):
            testing.parse(PLUGIN, '{"alerts": [{"id": 7}]}')
