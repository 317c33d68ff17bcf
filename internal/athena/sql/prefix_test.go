package sql

import (
	"database/sql"
	"fmt"
	"strings"
	"testing"
)

// withPrefix is the catalogue, with a prefix of the records' times.
type withPrefix struct {
	catalog
	asked *int
}

func (w withPrefix) Table(cat, db, name string) (*Table, error) {
	*w.asked++
	t, err := w.catalog.Table(cat, db, name)
	if err == nil {
		for i := range t.Columns {
			if t.Columns[i].Name == "eventtime" {
				t.Columns[i].Prefix = Prefix{"eventtime$13", 13}
			}
		}
	}
	return t, err
}

// rowsText is all rows of a query, or that it fails.
func rowsText(db *sql.DB, query string) string {
	rows, err := db.Query(query)
	if err != nil {
		return "fails"
	}
	defer rows.Close()
	cols, err := rows.Columns()
	if err != nil {
		return err.Error()
	}
	out := fmt.Sprintln(cols)
	for rows.Next() {
		values, at := make([]any, len(cols)), make([]any, len(cols))
		for i := range values {
			at[i] = &values[i]
		}
		if err := rows.Scan(at...); err != nil {
			return err.Error()
		}
		out += fmt.Sprintln(values...)
	}
	if rows.Err() != nil {
		return "fails"
	}
	return out
}

// TestPrefixes: where a prefix stands for its column, the answer is the same,
// and where it would not be, it does not.
func TestPrefixes(t *testing.T) {
	t.Parallel()
	db := openDuckDB(t)
	for _, q := range []string{
		`INSERT INTO r_logs (eventtime, eventname) VALUES (NULL, 'none'), ('', 'empty'), ('2024-03', 'short'), ('2024-03-01T10é:00', 'long'), ('éééééééééééééé', 'other'), ('2024-03-01T10:00:00Z', 'again'), ('2024-03-01T10:00:01Z', 'later')`,
		`ALTER TABLE r_logs ADD COLUMN "eventtime$13" VARCHAR`,
		`UPDATE r_logs SET "eventtime$13" = left(eventtime, 13)`,
	} {
		if _, err := db.Exec(q); err != nil {
			t.Fatal(err)
		}
	}
	for query, uses := range map[string]int{
		"SELECT substr(eventtime, 1, 10) AS day, eventname, count(*) AS n FROM logs GROUP BY 1, 2 ORDER BY 1, n DESC, 2":                                                           1,
		"SELECT count(*) FROM logs GROUP BY substr(eventtime, 1, 13) ORDER BY substr(eventtime, 1, 13)":                                                                            2,
		"SELECT substring(eventtime, 1, 7) FROM logs GROUP BY substr(eventtime, 1, 7) HAVING substr(eventtime, 1, 7) > 'a' ORDER BY 1":                                             3,
		"SELECT substr(eventtime, 1, 0), substr(l.eventtime, 1, 13), length(substr(default.l.eventtime, 1, 3)) FROM logs l ORDER BY eventname":                                     3,
		"SELECT DISTINCT substr(eventtime, 1, 4) FROM logs ORDER BY substr(eventtime, 1, 4)":                                                                                       2,
		"SELECT eventtime FROM logs WHERE substr(eventtime, 1, 7) = '2024-03' ORDER BY eventtime":                                                                                  1,
		"SELECT * FROM logs WHERE substr(eventtime, 1, 7) IN ('2024-03', '') ORDER BY eventname":                                                                                   1,
		"SELECT count(*) FILTER (WHERE substr(eventtime, 1, 4) = '2024'), count(DISTINCT substr(eventtime, 1, 10)) FROM logs":                                                      2,
		"SELECT substr(eventtime, 1, 10), rank() OVER (PARTITION BY substr(eventtime, 1, 7) ORDER BY eventname) FROM logs ORDER BY eventname":                                      2,
		"SELECT substr(a.eventtime, 1, 10), b.eventtime FROM logs a LEFT JOIN logs b ON a.eventname = b.eventname AND b.eventname < 'm' ORDER BY 1, 2":                             1,
		"SELECT substr(b.eventtime, 1, 10), count(*) FROM nums a LEFT JOIN logs b ON b.eventname = a.g GROUP BY 1":                                                                 1,
		"SELECT d, count(*) FROM (SELECT substr(eventtime, 1, 10) AS d FROM logs) GROUP BY d ORDER BY d":                                                                           1,
		"SELECT eventname FROM logs a WHERE EXISTS (SELECT 1 FROM logs b WHERE substr(b.eventtime, 1, 13) = substr(a.eventtime, 1, 13) AND b.eventname <> a.eventname) ORDER BY 1": 2,
		"SELECT (SELECT max(b.eventname) FROM logs b WHERE substr(b.eventtime, 1, 7) = substr(a.eventtime, 1, 7)) FROM logs a ORDER BY 1":                                          2,
		"SELECT substr(eventtime, 1, 4) FROM logs UNION ALL SELECT eventtime FROM logs ORDER BY 1":                                                                                 1,
		"SELECT substr(eventtime, 1, 4) AS \"eventtime$13\" FROM logs ORDER BY \"eventtime$13\"":                                                                                   1,
		"SELECT 'substr(eventtime, 1, 4) \"eventtime$13\"', substr(eventtime, 1, 4) FROM logs ORDER BY 2":                                                                          1,
		// What names the column too, outside WHERE, or wants more of it.
		"SELECT substr(eventtime, 1, 10) FROM logs GROUP BY eventtime ORDER BY 1":                                                              0,
		"SELECT substr(eventtime, 1, 10), eventtime FROM logs GROUP BY 1, 2 ORDER BY 1, 2":                                                     0,
		"SELECT substr(eventtime, 1, 10), max(eventtime) FROM logs GROUP BY 1 ORDER BY 1":                                                      0,
		"SELECT substr(eventtime, 1, 10), rank() OVER (ORDER BY eventtime) FROM logs ORDER BY 2, 1":                                            0,
		"SELECT substr(eventtime, 1, 10), rank() OVER w FROM logs WINDOW w AS (PARTITION BY eventtime) ORDER BY 2, 1":                          0,
		"SELECT substr(eventtime, 1, 10), array_agg(eventname ORDER BY eventtime) FROM logs GROUP BY 1 ORDER BY 1":                             0,
		"SELECT substr(eventtime, 1, 10) FROM logs ORDER BY eventtime":                                                                         0,
		"SELECT *, substr(eventtime, 1, 10) AS d FROM logs ORDER BY eventname":                                                                 0,
		"SELECT substr(eventtime, 1, 10) FROM logs a GROUP BY 1 HAVING (SELECT count(*) FROM nums WHERE g = a.eventtime) = 0":                  0,
		"SELECT substr(eventtime, 1, 14), substr(eventtime, 2, 3), substr(eventtime, 1), substr(eventtime, 0, 3) FROM logs ORDER BY eventname": 0,
		"SELECT substr(eventtime, 1, n) FROM logs, nums ORDER BY 1":                                                                            0,
		"SELECT substr(eventtime, 1, -1) FROM logs ORDER BY eventname":                                                                         0,
		"SELECT substr(eventname, 1, 3) FROM logs ORDER BY 1":                                                                                  0,
		"SELECT substr(useridentity.arn, 1, 3) FROM logs ORDER BY 1":                                                                           0,
		"WITH x AS (SELECT * FROM logs) SELECT substr(eventtime, 1, 4), count(*) FROM x GROUP BY 1 ORDER BY 1":                                 0,
		"SELECT substr(t, 1, 4) FROM logs AS l (v, u, t) ORDER BY 1":                                                                           0,
		"SELECT transform(ARRAY['2024-03-01'], eventtime -> substr(eventtime, 1, 4)) FROM logs":                                                0,
		"SELECT substr(eventtime, 1, 4) FROM logs a NATURAL JOIN logs b ORDER BY 1":                                                            0,
		// Both fail, as Trino does.
		"SELECT eventname FROM logs GROUP BY substr(eventtime, 1, 10)":                1,
		"SELECT substr(eventtime, 1, 13) FROM logs GROUP BY substr(eventtime, 1, 10)": 2,
		"SELECT substr(eventtime, 1, 10), count(*) FROM logs":                         1,
	} {
		st, err := Parse(query)
		if err != nil {
			t.Fatalf("%s: %v", query, err)
		}
		var asked, plainly int
		r, err := Rewrite(st.Node.(*Query), "default", withPrefix{asked: &asked}, nil)
		if err != nil {
			t.Fatalf("%s: %v", query, err)
		}
		plain, err := Rewrite(st.Node.(*Query), "default", catalog{}, nil)
		if err != nil {
			t.Fatal(err)
		}
		plainly = len(plain.Tables)
		if r.SQL != plain.SQL || fmt.Sprint(r.Columns, r.Tables, r.Predicates) != fmt.Sprint(plain.Columns, plain.Tables, plain.Predicates) || asked != plainly {
			t.Errorf("%s: a prefix changes more than the second SQL:\n%+v, %d\n%+v, %d", query, r, asked, plain, plainly)
		}
		if n := strings.Count(r.Prefixed, `"eventtime$13"`) - strings.Count(r.SQL, `"eventtime$13"`); n != uses && (uses > 0 || r.Prefixed != "") {
			t.Errorf("%s: a prefix is used %d times, not %d: %s", query, n, uses, r.Prefixed)
			continue
		}
		if uses == 0 {
			continue
		}
		if got, want := rowsText(db, r.Prefixed), rowsText(db, r.SQL); got != want {
			t.Errorf("%s:\n%s\n got %s\nwant %s", query, r.Prefixed, got, want)
		}
	}
}
