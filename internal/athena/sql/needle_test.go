package sql

import (
	"strings"
	"testing"
)

// TestNeedles: a cheap condition beside a JSON comparison changes no answer,
// and is there where it may be.
func TestNeedles(t *testing.T) {
	t.Parallel()
	db := openDuckDB(t)
	const docs = `(VALUES '{"a":"ledger"}', '{"a":"l\u0065dger"}', '{"a":"x","b":"ledger"}', '{"a":["ledger"]}', '{"a":"a\/b"}', '{"a":"q\"q"}', '{"a":1.0}', '{"a":1e0}', '{"a":true}', '{"a":null}', 'ledger', '{"a":"it''s"}', '{"a":""}', '{"a":"žluť"}', NULL) AS t (v)`
	for _, text := range []string{"ledger", "a/b", `q"q`, "1.0", "1", "1e0", "true", "null", "it''s", "", "žluť", `\`, "x"} {
		for _, where := range []string{"json_extract_scalar(v, '$.a') = %s", "%s = json_extract_scalar(v, '$.a')", "v IS NOT NULL AND json_extract_scalar(v, '$.a') = %s", "NOT json_extract_scalar(v, '$.a') = %s", "json_extract_scalar(v, '$.a') = %s OR v = 'ledger'",
			"json_extract_scalar(v, '$.a') = %s AND json_extract_scalar(v, '$.b') = 'ledger'"} {
			query := func(value string) string {
				return "SELECT v FROM " + docs + " WHERE " + strings.ReplaceAll(where, "%s", value) + " ORDER BY v"
			}
			got, err1 := run(db, query("'"+text+"'"))
			want, err2 := run(db, query("concat('"+text+"', '')"))
			if err1 != nil || err2 != nil || got != want {
				t.Errorf("%s: %q, %v; want %q, %v", query("'"+text+"'"), got, err1, want, err2)
			}
		}
	}
	for query, want := range map[string]bool{
		"SELECT 1 FROM logs WHERE json_extract_scalar(requestparameters, '$.bucketName') = 'b'":                     true,
		"SELECT 1 FROM logs WHERE eventname = 'x' AND 'b' = json_extract_scalar(requestparameters, '$.bucketName')": true,
		"SELECT 1 FROM logs WHERE json_extract_scalar(requestparameters, '$.bucketName') = '12'":                    false,
		"SELECT 1 FROM logs WHERE json_extract_scalar(requestparameters, '$.bucketName') = 'b' OR eventname = 'x'":  false,
		"SELECT 1 FROM logs WHERE NOT (json_extract_scalar(requestparameters, '$.bucketName') = 'b')":               false,
		"SELECT json_extract_scalar(requestparameters, '$.bucketName') = 'b' FROM logs":                             false,
		"SELECT 1 FROM logs WHERE json_extract_scalar(lower(requestparameters), '$.a') = 'b'":                       false,
	} {
		st, err := Parse(query)
		if err != nil {
			t.Fatal(err)
		}
		r, err := Rewrite(st.Node.(*Query), "default", catalog{}, nil)
		if err != nil {
			t.Fatal(err)
		}
		if got := strings.Contains(r.SQL, "contains("); got != want {
			t.Errorf("%s: %s", query, r.SQL)
		}
	}
}
