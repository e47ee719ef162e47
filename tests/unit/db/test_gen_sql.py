"""The generator of the query and migration tables: deterministic, and strict about its input."""
import subprocess
import sys
import tempfile
import unittest
from pathlib import Path

GENERATOR = Path(__file__).resolve().parents[3] / "db" / "gen_sql.py"
QUERY = "-- One thing.\n-- Parameters: :id\n-- Columns: id\nSELECT id FROM t WHERE id = :id;\n"
MIGRATION = "CREATE TABLE t (id TEXT);\n"


class GenSql(unittest.TestCase):
    def setUp(self):
        holder = tempfile.TemporaryDirectory()
        self.addCleanup(holder.cleanup)
        self.dir = Path(holder.name)
        (self.dir / "queries").mkdir()
        (self.dir / "migrations").mkdir()
        self.put("queries/one.sql", QUERY)
        self.put("migrations/0001_first.sql", MIGRATION)

    def put(self, name, text):
        (self.dir / name).write_text(text, encoding="utf-8")

    def run_generator(self, files=None, out="out"):
        files = files if files is not None else sorted(self.dir.glob("*/*.sql"))
        done = subprocess.run(
            [sys.executable, GENERATOR, "--header", self.dir / f"{out}.h", "--source",
             self.dir / f"{out}.c", *files], capture_output=True, text=True, check=False)
        return done.returncode, done.stderr

    def refused(self, words, files=None):
        code, errors = self.run_generator(files)
        self.assertEqual(code, 1)
        self.assertIn(words, errors)
        self.assertFalse((self.dir / "out.h").exists())

    def test_the_same_files_give_the_same_bytes_in_any_order(self):
        self.put("queries/another.sql", QUERY)
        files = sorted(self.dir.glob("*/*.sql"))
        self.assertEqual(self.run_generator(files, "a"), (0, ""))
        self.assertEqual(self.run_generator(files[::-1], "b"), (0, ""))
        for suffix in "hc":
            self.assertEqual((self.dir / f"a.{suffix}").read_bytes(),
                             (self.dir / f"b.{suffix}").read_bytes())
        self.assertIn("QUERY_ANOTHER", (self.dir / "a.h").read_text(encoding="utf-8"))

    def test_a_changed_byte_changes_the_checksum(self):
        self.run_generator(out="a")
        self.put("migrations/0001_first.sql", MIGRATION + "\n")
        self.run_generator(out="b")
        self.assertNotEqual((self.dir / "a.c").read_bytes(), (self.dir / "b.c").read_bytes())

    def test_quotes_and_backslashes_survive(self):
        self.put("queries/one.sql", QUERY.replace("= :id", "= :id AND id <> '\\\"; -- :no'"))
        code, errors = self.run_generator()
        self.assertEqual((code, errors), (0, ""))
        self.assertIn(r"'\\\"; -- :no'", (self.dir / "out.c").read_text(encoding="utf-8"))

    def test_a_file_that_is_not_listed_is_refused(self):
        files = sorted(self.dir.glob("*/*.sql"))
        self.put("queries/forgotten.sql", QUERY)
        self.refused("not listed", files)

    def test_two_statements_are_refused(self):
        self.put("queries/one.sql", QUERY + "SELECT 1;\n")
        self.refused("exactly one statement")

    def test_a_missing_header_is_refused(self):
        self.put("queries/one.sql", "SELECT 1;\n")
        self.refused("begins with a comment")

    def test_undocumented_parameters_are_refused(self):
        self.put("queries/one.sql", QUERY.replace("= :id", "= :id OR id = :other"))
        self.refused(":other")

    def test_positional_parameters_are_refused(self):
        self.put("queries/one.sql", QUERY.replace("= :id", "= :id OR id = ?"))
        self.refused("written :name")

    def test_a_gap_between_migrations_is_refused(self):
        self.put("migrations/0003_third.sql", MIGRATION)
        self.refused("0002")


if __name__ == "__main__":
    unittest.main()
