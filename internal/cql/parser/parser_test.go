package parser

import (
	"bufio"
	"bytes"
	"errors"
	"flag"
	"fmt"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"

	"spoor/internal/cql"
	"spoor/internal/cql/ast"
)

var update = flag.Bool("update", false, "rewrite the golden files")

// inputs reads a file of statements, one a line. A line that begins with a blank
// goes on with the one before, when there is one.
func inputs(t testing.TB, path string) []string {
	t.Helper()
	b, err := os.ReadFile(path)
	if err != nil {
		t.Fatal(err)
	}
	var list []string
	for s := bufio.NewScanner(bytes.NewReader(b)); s.Scan(); {
		if line := s.Text(); len(list) > 0 && strings.HasPrefix(line, " ") && list[len(list)-1] != "" {
			list[len(list)-1] += "\n" + line
		} else {
			list = append(list, line)
		}
	}
	return list
}

func TestGolden(t *testing.T) {
	t.Parallel()
	files, err := filepath.Glob("testdata/*.txt")
	if err != nil || len(files) == 0 {
		t.Fatalf("no inputs: %v", err)
	}
	for _, file := range files {
		t.Run(filepath.Base(file), func(t *testing.T) {
			t.Parallel()
			var out bytes.Buffer
			bad := strings.HasSuffix(file, "bad.txt")
			for _, in := range inputs(t, file) {
				parsed, err := Parse(in)
				if (err != nil) != bad {
					t.Errorf("%s: error %v", in, err)
				}
				fmt.Fprintf(&out, "%s\n", in)
				if err != nil {
					fmt.Fprintf(&out, "  ! %v\n", err)
					continue
				}
				fmt.Fprintf(&out, "  %T %s\n", parsed.Statement, ast.String(parsed.Statement))
			}
			golden := strings.TrimSuffix(file, ".txt") + ".golden"
			if *update {
				if err := os.WriteFile(golden, out.Bytes(), 0o644); err != nil {
					t.Fatal(err)
				}
			}
			want, err := os.ReadFile(golden)
			if err != nil {
				t.Fatal(err)
			}
			if diff := cmp.Diff(string(want), out.String()); diff != "" {
				t.Errorf("%s (-want +got):\n%s", golden, diff)
			}
		})
	}
}

var ignorePos = cmp.FilterPath(func(p cmp.Path) bool { return p.Last().Type() == nil || p.Last().String() == ".Pos" }, cmp.Ignore())

// checkRoundTrip prints a tree, parses what was printed, and compares.
func checkRoundTrip(t *testing.T, in string, first *ast.Parsed) {
	t.Helper()
	printed := ast.String(first.Statement)
	second, err := Parse(printed)
	if err != nil {
		t.Fatalf("%q prints as %q, which does not parse: %v", in, printed, err)
	}
	if diff := cmp.Diff(first.Statement, second.Statement, ignorePos); diff != "" {
		t.Fatalf("%q prints as %q, which is another statement (-first +second):\n%s", in, printed, diff)
	}
	if again := ast.String(second.Statement); again != printed {
		t.Fatalf("%q prints as %q and then as %q", in, printed, again)
	}
	if len(first.Markers) != len(second.Markers) {
		t.Fatalf("%q has %d markers, its print %q has %d", in, len(first.Markers), printed, len(second.Markers))
	}
	for i, m := range first.Markers {
		if m.Index != i {
			t.Fatalf("%q: marker %d has index %d", in, i, m.Index)
		}
	}
}

func TestRoundTrip(t *testing.T) {
	t.Parallel()
	for _, file := range []string{"testdata/dml.txt", "testdata/ddl.txt"} {
		for _, in := range inputs(t, file) {
			parsed, err := Parse(in)
			if err != nil {
				t.Errorf("%q: %v", in, err)
				continue
			}
			checkRoundTrip(t, in, parsed)
		}
	}
}

func TestPositions(t *testing.T) {
	t.Parallel()
	parsed, err := Parse("SELECT a,\n  b FROM t\n\tWHERE c = 'x\ny' AND d = ?")
	if err != nil {
		t.Fatal(err)
	}
	s := parsed.Statement.(*ast.Select)
	for _, c := range []struct {
		what string
		got  ast.Pos
		want ast.Pos
	}{
		{"statement", s.Pos, ast.Pos{Offset: 0, Line: 1, Col: 0}},
		{"second column", s.Selectors[1].Expr.Position(), ast.Pos{Offset: 12, Line: 2, Col: 2}},
		{"first relation", s.Where[0].Pos, ast.Pos{Offset: 28, Line: 3, Col: 7}},
		{"marker", parsed.Markers[0].Pos, ast.Pos{Offset: 46, Line: 4, Col: 11}},
	} {
		if c.got != c.want {
			t.Errorf("%s: at %+v, want %+v", c.what, c.got, c.want)
		}
	}
}

func TestLiterals(t *testing.T) {
	t.Parallel()
	for in, want := range map[string]ast.Literal{
		"'a''b'":                               {Kind: ast.StringLiteral, Text: "a'b"},
		"$$a'b$$":                              {Kind: ast.StringLiteral, Text: "a'b"},
		"-007":                                 {Kind: ast.IntegerLiteral, Text: "-007"},
		"1.":                                   {Kind: ast.FloatLiteral, Text: "1."},
		"1E5":                                  {Kind: ast.FloatLiteral, Text: "1E5"},
		"-infinity":                            {Kind: ast.FloatLiteral, Text: "-Infinity"},
		"nan":                                  {Kind: ast.FloatLiteral, Text: "NaN"},
		"TRUE":                                 {Kind: ast.BooleanLiteral, Text: "true"},
		"null":                                 {Kind: ast.NullLiteral},
		"0Xab":                                 {Kind: ast.BlobLiteral, Text: "0Xab"},
		"2H":                                   {Kind: ast.DurationLiteral, Text: "2H"},
		"DEADBEEF-0000-1111-2222-333344445555": {Kind: ast.UUIDLiteral, Text: "DEADBEEF-0000-1111-2222-333344445555"},
	} {
		parsed, err := Parse("UPDATE t SET a = " + in + " WHERE b = 1")
		if err != nil {
			t.Errorf("%s: %v", in, err)
			continue
		}
		got := parsed.Statement.(*ast.Update).Assignments[0].Value
		if diff := cmp.Diff(ast.Expr(&want), got, ignorePos); diff != "" {
			t.Errorf("%s (-want +got):\n%s", in, diff)
		}
	}
}

func TestLimits(t *testing.T) {
	t.Parallel()
	nest := func(open, inner, end string, n int) string {
		return "SELECT * FROM t WHERE a = " + strings.Repeat(open, n) + inner + strings.Repeat(end, n)
	}
	for name, in := range map[string]string{
		"lists":      nest("[", "1", "]", MaxDepth),
		"tuples":     nest("(", "1", ")", 100_000),
		"maps":       nest("{1:", "1", "}", MaxDepth),
		"calls":      nest("f(", "1", ")", MaxDepth),
		"negations":  nest("- ", "1", "", MaxDepth),
		"hints":      nest("(int) ", "1", "", MaxDepth),
		"operators":  nest("1 + ", "1", "", MaxDepth+1),
		"products":   nest("1 * ", "1", "", MaxDepth+1),
		"relations":  "SELECT * FROM t WHERE " + strings.Repeat("(", MaxDepth+1) + "a = 1" + strings.Repeat(")", MaxDepth+1),
		"types":      "CREATE TABLE t (a " + strings.Repeat("list<", MaxDepth+1) + "int" + strings.Repeat(">", MaxDepth+1) + ")",
		"fields":     "SELECT a" + strings.Repeat(".b", MaxDepth+1) + " FROM t",
		"subscripts": "SELECT a" + strings.Repeat("[1]", MaxDepth+1) + " FROM t",
	} {
		if _, err := Parse(in); err == nil || !strings.Contains(err.Error(), tooDeep) {
			t.Errorf("%s: error %v, want one that says too deep", name, err)
		}
	}
	if _, err := Parse(nest("[", "1", "]", MaxDepth-1)); err != nil {
		t.Errorf("nesting within the limit: %v", err)
	}
	if _, err := Parse("SELECT * FROM t WHERE a IN (" + strings.Repeat("?,", MaxMarkers) + "?)"); err == nil {
		t.Error("too many markers are accepted")
	}
	if _, err := Parse(strings.Repeat(";", MaxTokens+1)); err == nil {
		t.Error("too many tokens are accepted")
	}
	if _, err := Parse(strings.Repeat(" ", MaxText+1)); err == nil {
		t.Error("too long a text is accepted")
	}
}

func TestErrorCode(t *testing.T) {
	t.Parallel()
	var e *cql.Error
	if _, err := Parse("SELECT x y"); !errors.As(err, &e) || e.Code != cql.CodeSyntax {
		t.Errorf("error %v is no syntax error", err)
	}
	if want := "line 1:9 mismatched input 'y' expecting K_FROM"; e.Message != want {
		t.Errorf("message %q, want %q", e.Message, want)
	}
}

func TestParseType(t *testing.T) {
	t.Parallel()
	for in, want := range map[string]string{
		"INT":                             "int",
		" map< text,frozen<list<int>> > ": "map<text, frozen<list<int>>>",
		`ks."My Type"`:                    `ks."My Type"`,
		"tuple<int, varchar, ks.t>":       "tuple<int, varchar, ks.t>",
		"vector<float, 3>":                "vector<float, 3>",
		"'org.example.T'":                 "'org.example.T'",
	} {
		typ, err := ParseType(in)
		if err != nil {
			t.Errorf("%q: %v", in, err)
			continue
		}
		if got := ast.String(typ); got != want {
			t.Errorf("%q is %q, want %q", in, got, want)
		}
	}
	for _, in := range []string{"", "int int", "list<>", "map<int>", "list<int", "int;", "12", "foo<int>", strings.Repeat("list<", MaxDepth+1), "'"} {
		if typ, err := ParseType(in); err == nil {
			t.Errorf("%q is read as %s", in, ast.String(typ))
		}
	}
}

func TestReservedWordsAreQuoted(t *testing.T) {
	t.Parallel()
	for word := range keywords {
		in := "SELECT " + ast.QuoteIdent(word) + " FROM t"
		parsed, err := Parse(in)
		if err != nil {
			t.Errorf("%s: %v", in, err)
			continue
		}
		ref, ok := parsed.Statement.(*ast.Select).Selectors[0].Expr.(*ast.ColumnRef)
		if !ok || ref.Name != word {
			t.Errorf("%s selects %s", in, ast.String(parsed.Statement))
		}
	}
}

func FuzzParse(f *testing.F) {
	for _, file := range []string{"testdata/dml.txt", "testdata/ddl.txt", "testdata/bad.txt"} {
		for _, in := range inputs(f, file) {
			f.Add(in)
		}
	}
	f.Fuzz(func(t *testing.T, in string) {
		parsed, err := Parse(in)
		if err != nil {
			var e *cql.Error
			if !errors.As(err, &e) {
				t.Fatalf("%q: error of type %T", in, err)
			}
			return
		}
		checkRoundTrip(t, in, parsed)
	})
}

func BenchmarkParse(b *testing.B) {
	for name, in := range map[string]string{
		"Insert": "INSERT INTO ks.events (pk, ck, region, value) VALUES (?, ?, ?, ?) USING TTL 86400",
		"Select": "SELECT pk, ck, value FROM ks.events WHERE pk = ? AND ck > 10 AND ck <= 20 LIMIT 100",
	} {
		b.Run(name, func(b *testing.B) {
			b.ReportAllocs()
			for b.Loop() {
				if _, err := Parse(in); err != nil {
					b.Fatal(err)
				}
			}
		})
	}
}
