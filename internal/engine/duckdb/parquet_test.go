package duckdb

import (
	"database/sql"
	"testing"
)

// writeParquet makes a file of two rows with an engine that may write.
func writeParquet(t *testing.T, file string) {
	t.Helper()
	db, err := sql.Open("duckdb", "")
	if err != nil {
		t.Fatal(err)
	}
	defer db.Close()
	if _, err := db.Exec("COPY (SELECT * FROM (VALUES (1::INTEGER, 'a'), (2, 'b')) AS v(N, \"Name\")) TO '" + file + "' (FORMAT parquet)"); err != nil {
		t.Fatal(err)
	}
}
