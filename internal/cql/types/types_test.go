package types

import (
	"bytes"
	"encoding/hex"
	"strings"
	"testing"

	"spoor/internal/cql"
	"spoor/internal/cql/ast"
	"spoor/internal/cql/parser"
)

func mustType(t testing.TB, s string) *Type {
	t.Helper()
	n, err := parser.ParseType(s)
	if err != nil {
		t.Fatal(err)
	}
	typ, err := Resolve(n, "ks", func(ks, name string) (*Type, bool) {
		return &Type{Kind: UDT, Keyspace: ks, Name: name, Fields: []string{"street", "No"}, Args: []*Type{Scalar(Text), Scalar(Int)}}, name == "address"
	})
	if err != nil {
		t.Fatal(err)
	}
	return typ
}

func value(t testing.TB, typ *Type, text string) []byte {
	t.Helper()
	v, err := literalOf(t, typ, text)
	if err != nil {
		t.Fatalf("%s as %s: %v", text, typ, err)
	}
	return v.Data
}

func literalOf(t testing.TB, typ *Type, text string) (Value, error) {
	t.Helper()
	p, err := parser.Parse("INSERT INTO t (v) VALUES (" + text + ")")
	if err != nil {
		t.Fatal(err)
	}
	return Coerce(p.Statement.(*ast.Insert).Values[0], typ, "v", &Env{})
}

// TestConstants: a constant's wire bytes, and the constant that they print as.
func TestConstants(t *testing.T) {
	t.Parallel()
	for _, c := range []struct{ typ, in, wire, out string }{
		{"int", "-1", "ffffffff", "-1"},
		{"bigint", "258", "0000000000000102", "258"},
		{"smallint", "-32768", "8000", "-32768"},
		{"tinyint", "127", "7f", "127"},
		{"varint", "128", "0080", "128"},
		{"varint", "-129", "ff7f", "-129"},
		{"varint", "-128", "80", "-128"},
		{"decimal", "1.50", "000000020096", "1.50"},
		{"decimal", "-0.0001", "00000004ff", "-0.0001"},
		{"decimal", "1E3", "fffffffd01", "1E+3"},
		{"double", "1", "3ff0000000000000", "1.0"},
		{"float", "1.5e10", "505f8476", "1.5E10"},
		{"double", "NaN", "7ff8000000000000", "NaN"},
		{"boolean", "true", "01", "true"},
		{"text", "'it''s'", "69742773", "'it''s'"},
		{"blob", "0xCAFE", "cafe", "0xcafe"},
		{"uuid", "11111111-2222-4333-8444-555555555555", "11111111222243338444555555555555", "11111111-2222-4333-8444-555555555555"},
		{"inet", "'127.0.0.1'", "7f000001", "'127.0.0.1'"},
		{"inet", "'::1'", "00000000000000000000000000000001", "'::1'"},
		{"date", "'1970-01-02'", "80000001", "'1970-01-02'"},
		{"time", "'00:00:01.5'", "0000000059682f00", "'00:00:01.500000000'"},
		{"timestamp", "'1970-01-01 00:00:01+0000'", "00000000000003e8", "'1970-01-01T00:00:01.000Z'"},
		{"timestamp", "1000", "00000000000003e8", "'1970-01-01T00:00:01.000Z'"},
		{"duration", "1mo2d3ns", "020406", "1mo2d3ns"},
		{"duration", "-PT1H", "0000fc068c61713fff", "-1h"},
		{"set<int>", "{3, 1, 2, 1}", "00000003000000040000000100000004000000020000000400000003", "{1, 2, 3}"},
		{"map<text, int>", "{'b': 2, 'a': 1}", "000000020000000161000000040000000100000001620000000400000002", "{'a': 1, 'b': 2}"},
		{"list<text>", "['a']", "000000010000000161", "['a']"},
		{"frozen<tuple<int, text>>", "(1, null)", "0000000400000001ffffffff", "(1, NULL)"},
		{"address", `{"No": 7}`, "ffffffff0000000400000007", "{street: NULL, No: 7}"},
	} {
		typ := mustType(t, c.typ)
		b := value(t, typ, c.in)
		if got := hex.EncodeToString(b); got != c.wire {
			t.Errorf("%s as %s is %s, want %s", c.in, c.typ, got, c.wire)
		}
		if got := string(typ.AppendLiteral(nil, b)); got != c.out {
			t.Errorf("%s as %s prints as %s, want %s", c.in, c.typ, got, c.out)
		}
		if err := typ.Validate(b); err != nil {
			t.Errorf("%s as %s: %v", c.in, c.typ, err)
		}
		back, err := typ.FromJSON(typ.AppendJSON(nil, b))
		if err != nil || !bytes.Equal(back, b) {
			t.Errorf("%s as %s came back from JSON %s as %x (%v)", c.in, c.typ, typ.AppendJSON(nil, b), back, err)
		}
	}
}

func TestBadConstants(t *testing.T) {
	t.Parallel()
	for _, c := range []struct{ typ, in, want string }{
		{"int", "'abc'", `Invalid STRING constant (abc) for "v" of type int`},
		{"text", "1", `Invalid INTEGER constant (1) for "v" of type text`},
		{"int", "99999999999", `Unable to make int from '99999999999'`},
		{"list<int>", "{1}", `Invalid set literal for v of type list<int>`},
		{"list<int>", "[null]", `null is not supported inside collections`},
		{"timeuuid", "11111111-2222-4333-8444-555555555555", `Invalid version for TimeUUID type.`},
		{"boolean", "0x01", `Invalid HEX constant (0x01) for "v" of type boolean`},
		{"timestamp", "'soon'", `Unable to parse a date/time from 'soon'`},
	} {
		_, err := literalOf(t, mustType(t, c.typ), c.in)
		if err == nil || cql.AsError(err).Message != c.want || cql.AsError(err).Code != cql.CodeInvalid {
			t.Errorf("%s as %s: %v, want %s", c.in, c.typ, err, c.want)
		}
	}
}

// TestToken: tokens that Cassandra's Murmur3Partitioner gives; those of bytes
// from 0x80 on tell its variant from the original (vectors of the Python
// driver's tests).
func TestToken(t *testing.T) {
	t.Parallel()
	for key, want := range map[string]int64{
		"":    0,
		"123": -7468325962851647638,
		strings.Repeat("\x00\xff\x10\xfa\x99", 10): 5837342703291459765,
		strings.Repeat("\xfe", 8):                  -8927430733708461935,
		strings.Repeat("\x10", 8):                  1446172840243228796,
		"9223372036854775807":                      7162290910810015547,
	} {
		if got := Token([]byte(key)); got != want {
			t.Errorf("the token of %q is %d, want %d", key, got, want)
		}
	}
	parts := [][]byte{[]byte("a"), {}, {1, 2}}
	var key []byte
	for _, p := range parts {
		key = AppendKeyComponent(key, p)
	}
	if got := hex.EncodeToString(key); got != "00016100000000"+"0002010200" {
		t.Errorf("the composite key is %s", got)
	}
	if back, ok := SplitKey(key, 3, nil); !ok || len(back) != 3 || string(back[2]) != "\x01\x02" {
		t.Errorf("the composite key splits to %x, %t", back, ok)
	}
}

// TestOrder: encodings order and compare as the list does, both ways, and decode
// to the value.
func TestOrder(t *testing.T) {
	t.Parallel()
	for typ, texts := range map[string][]string{
		"int":                      {"-2147483648", "-1", "0", "1", "2147483647"},
		"varint":                   {"-65536", "-256", "-255", "-1", "0", "1", "127", "128", "255", "256"},
		"decimal":                  {"-1e10", "-1.5", "-1.49", "-0.001", "0", "0.01", "1.49", "1.5", "12", "100", "1e10"},
		"double":                   {"-Infinity", "-1.5", "0", "1e-300", "2", "Infinity", "NaN"},
		"float":                    {"-Infinity", "-1.5", "0", "2", "Infinity", "NaN"},
		"text":                     {"''", "'a'", "'a\x00'", "'a\x00b'", "'ab'", "'b'"},
		"blob":                     {"0x", "0x00", "0x0000", "0x0001", "0x01", "0xff"},
		"boolean":                  {"false", "true"},
		"date":                     {"'1969-01-01'", "'1970-01-01'", "'2020-01-01'"},
		"timestamp":                {"-5", "0", "5"},
		"frozen<list<int>>":        {"[]", "[1]", "[1, 2]", "[2]"},
		"frozen<map<int, text>>":   {"{}", "{1: 'a'}", "{1: 'b'}", "{2: 'a'}"},
		"frozen<tuple<int, text>>": {"(1, null)", "(1, 'a')", "(2, null)"},
		"timeuuid":                 {"00000000-0000-1000-8000-000000000000", "00000001-0000-1000-8000-000000000000", "00000000-0001-1000-8000-000000000000"},
		"uuid":                     {"ffffffff-0000-1000-8000-000000000000", "00000000-0001-1000-8000-000000000000", "00000000-0000-4000-8000-000000000000"},
		"inet":                     {"'10.0.0.1'", "'127.0.0.1'"},
	} {
		tt := mustType(t, typ)
		var values [][]byte
		for _, s := range texts {
			values = append(values, value(t, tt, s))
		}
		for i, a := range values {
			for j, b := range values {
				want := sign(i - j)
				if got := tt.Compare(a, b); got != want {
					t.Errorf("%s: %s and %s compare as %d, want %d", typ, texts[i], texts[j], got, want)
				}
				for _, desc := range []bool{false, true} {
					ka, kb := tt.AppendOrdered(nil, a, desc), tt.AppendOrdered(nil, b, desc)
					got := bytes.Compare(ka, kb)
					if desc {
						got = -got
					}
					if got != want {
						t.Errorf("%s: the keys of %s and %s order as %d, want %d (desc %t)", typ, texts[i], texts[j], got, want, desc)
					}
				}
			}
			for _, desc := range []bool{false, true} {
				back, rest, err := tt.DecodeOrdered(append(tt.AppendOrdered(nil, a, desc), "rest"...), desc)
				if err != nil || string(rest) != "rest" || tt.Compare(back, a) != 0 {
					t.Errorf("%s: %s (desc %t) came back as %x, rest %q, %v", typ, texts[i], desc, back, rest, err)
				}
			}
		}
	}
}

func TestStrings(t *testing.T) {
	t.Parallel()
	for in, want := range map[string]string{
		"varchar": "text", "frozen<list<int>>": "frozen<list<int>>", "map<text, frozen<set<int>>>": "map<text, frozen<set<int>>>",
		"tuple<int, text>": "frozen<tuple<int, text>>", "frozen<address>": "frozen<address>",
	} {
		if got := mustType(t, in).String(); got != want {
			t.Errorf("%s is %s, want %s", in, got, want)
		}
	}
	for v, want := range map[cql.ProtocolVersion]string{cql.Protocol4: "0011", cql.Protocol3: "0000002e"} {
		got := hex.EncodeToString(Scalar(Date).AppendOption(nil, v))
		if len(got) < len(want) || got[:len(want)] != want {
			t.Errorf("version %d: date is %s", v, got)
		}
	}
}

// FuzzWire: nothing that validates breaks printing, ordering or comparing, and
// ordered forms come back.
func FuzzWire(f *testing.F) {
	names := []string{"ascii", "bigint", "blob", "boolean", "date", "decimal", "double", "duration", "float", "inet", "int", "smallint", "text",
		"time", "timestamp", "timeuuid", "tinyint", "uuid", "varint", "frozen<list<int>>", "frozen<set<text>>", "frozen<map<int, text>>",
		"frozen<tuple<int, text>>", "frozen<address>"}
	for i := range names {
		f.Add(uint8(i), []byte{0, 0, 0, 1, 0, 0, 0, 4, 0, 0, 0, 9}, []byte{0, 0, 0, 0, 1})
	}
	f.Fuzz(func(t *testing.T, k uint8, a, b []byte) {
		typ := mustType(t, names[int(k)%len(names)])
		if a == nil || b == nil || len(a) > 256 || len(b) > 256 || typ.Validate(a) != nil || typ.Validate(b) != nil {
			return
		}
		if typ.Kind == Duration {
			typ.AppendLiteral(nil, a)
			return
		}
		a, b = typ.Canonical(a), typ.Canonical(b)
		typ.AppendLiteral(nil, a)
		typ.AppendJSON(nil, a)
		ka, kb := typ.AppendOrdered(nil, a, false), typ.AppendOrdered(nil, b, false)
		if got, want := bytes.Compare(ka, kb), typ.Compare(a, b); got != want {
			t.Fatalf("%s: %x and %x order as %d and compare as %d", typ, a, b, got, want)
		}
		back, rest, err := typ.DecodeOrdered(ka, false)
		if err != nil || len(rest) != 0 || typ.Compare(back, a) != 0 {
			t.Fatalf("%s: %x came back as %x, rest %x, %v", typ, a, back, rest, err)
		}
	})
}
