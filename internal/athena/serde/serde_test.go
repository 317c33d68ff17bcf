package serde

import (
	"bytes"
	"compress/gzip"
	"context"
	"encoding/json"
	"fmt"
	"io"
	"strings"
	"testing"
	"unicode/utf8"

	"github.com/google/go-cmp/cmp"
	"github.com/klauspost/compress/zstd"

	"spoor/internal/athena/sql"
	"spoor/internal/engine/duckdb"
	"spoor/internal/glue"
)

// table makes a table from "name type" pairs.
func table(t testing.TB, serde, input string, props map[string]string, columns ...string) (*glue.Table, *Reader) {
	t.Helper()
	tab := &glue.Table{Database: "d", Name: "t", Serde: serde, InputFormat: input, SerdeParams: props, Parameters: props}
	var cols []sql.Column
	var index []int
	for i, c := range columns {
		name, typ, _ := strings.Cut(c, " ")
		parsed, err := sql.ParseHiveType(typ)
		if err != nil {
			t.Fatal(err)
		}
		tab.Columns = append(tab.Columns, glue.Column{Name: name, Type: typ})
		cols, index = append(cols, sql.Column{Name: name, Type: parsed}), append(index, i)
	}
	rd, err := NewReader(tab, cols, index)
	if err != nil {
		t.Fatal(err)
	}
	return tab, rd
}

// rows reads a file into texts, "NULL" for nil.
func rows(rd *Reader, name, body string) ([]string, error) {
	var out []string
	err := rd.Read(context.Background(), name, strings.NewReader(body), func(row []any) error {
		parts := make([]string, len(row))
		for i, v := range row {
			if parts[i] = fmt.Sprint(v); v == nil {
				parts[i] = "NULL"
			}
			if d, ok := v.(duckdb.Decimal); ok {
				parts[i] = d.Value.String() + "/" + fmt.Sprint(d.Scale)
			}
		}
		out = append(out, strings.Join(parts, "|"))
		return nil
	})
	return out, err
}

func TestRead(t *testing.T) {
	t.Parallel()
	for name, c := range map[string]struct {
		serde, input string
		props        map[string]string
		columns      []string
		body         string
		want         []string
		fails        string
	}{
		"csv as Hive splits it": {LazySimple, "", map[string]string{"field.delim": ",", "skip.header.line.count": "1"}, []string{"a int", "b string", "c double"},
			"a,b,c\n1,x,1.5\r\n2,\\N,oops\n,,\n3\n", []string{"1|x|1.5", "2|NULL|NULL", "NULL||NULL", "3|NULL|NULL"}, ""},
		"control-A and a numbered format": {LazySimple, "", map[string]string{"serialization.format": "1"}, []string{"a int", "b string"}, "1\x01one\n", []string{"1|one"}, ""},
		"a numbered delimiter":            {LazySimple, "", map[string]string{"field.delim": "44"}, []string{"a int", "b string"}, "1,one\n", []string{"1|one"}, ""},
		"escapes":                         {LazySimple, "", map[string]string{"field.delim": ",", "escape.delim": `\`}, []string{"a string", "b string"}, `a\,b,c\\d` + "\n", []string{`a,b|c\d`}, ""},
		"a null of its own":               {LazySimple, "", map[string]string{"field.delim": ",", "serialization.null.format": "-"}, []string{"a string", "b int"}, "-,-\n", []string{"NULL|NULL"}, ""},
		"nested text": {LazySimple, "", map[string]string{"field.delim": ",", "colelction.delim": ";", "mapkey.delim": "="},
			[]string{"a array<int>", "m map<string,int>", "s struct<x:int,y:string>"}, "1;2;3,k=1;l=2,7;z\n,,\n", []string{"[1 2 3]|map[k:1 l:2]|map[x:7 y:z]", "[]|map[]|map[x:NULL y:NULL]"}, ""},
		"scalars": {LazySimple, "", map[string]string{"field.delim": ","}, []string{"a boolean", "b tinyint", "c decimal(5,2)", "d date", "e timestamp", "f varchar(2)"},
			"TRUE,127,1.005,2024-02-29,2024-02-29 01:02:03.5,abc\n1,128,1e9,2024-02-30,yesterday,é\n,,1e999999999,,,ééé\n",
			[]string{"true|127|101/2|2024-02-29 00:00:00 +0000 UTC|2024-02-29 01:02:03.5 +0000 UTC|ab", "NULL|NULL|NULL|NULL|NULL|é", "NULL|NULL|NULL|NULL|NULL|éé"}, ""},
		"no UTF-8": {LazySimple, "", nil, []string{"a string"}, "\xff\xfe\n", []string{"\uFFFD"}, ""},

		"quoted csv": {OpenCSV, "", map[string]string{"skip.header.line.count": "2"}, []string{"a string", "b int", "c date", "d timestamp"},
			"head\nhead\n\"x, \"\"y\"\"\",7,1,1500\n'z'\n", []string{`x, "y"|7|1970-01-02 00:00:00 +0000 UTC|1970-01-01 00:00:01.5 +0000 UTC`, "'z'|NULL|NULL|NULL"}, ""},
		"another quote":       {OpenCSV, "", map[string]string{"separatorChar": ";", "quoteChar": "'", "escapeChar": "\\"}, []string{"a string", "b string"}, `'a;b';c\'d` + "\n", []string{"a;b|c'd"}, ""},
		"an empty int in csv": {OpenCSV, "", nil, []string{"a int"}, "\"\"\n", nil, "HIVE_BAD_DATA"},

		"json": {HiveJSON, "", nil, []string{"a int", "name string", "s struct<x:int,y:array<string>>", "m map<string,int>"},
			`{"A":1,"Name":"é\n","s":{"X":2,"y":["p",null]},"m":{"k":1},"other":[{}]}` + "\n\n" + `{"a":null}` + "\n",
			[]string{"1|é\n|map[x:2 y:[p <nil>]]|map[k:1]", "NULL|NULL|NULL|NULL"}, ""},
		"hive's json takes no object for a text": {HiveJSON, "", nil, []string{"a string"}, `{"a":{"b":1}}`, nil, "HIVE_BAD_DATA"},
		"hive's json takes no broken line":       {HiveJSON, "", nil, []string{"a string"}, `{"a":`, nil, "HIVE_CURSOR_ERROR: Row is not a valid JSON Object"},
		"openx":                                  {OpenX, "", nil, []string{"a string", "b int", "c array<int>"}, `{"a":{"b": [1, "x y"]},"b":"no","c":5}`, []string{`{"b":[1,"x y"]}|NULL|[5]`}, ""},
		"openx renames":                          {OpenX, "", map[string]string{"mapping.ts": "Time", "dots.in.keys": "true"}, []string{"ts string", "a_b int"}, `{"time":"now","a.b":1}`, []string{"now|1"}, ""},
		"openx with case":                        {OpenX, "", map[string]string{"case.insensitive": "false"}, []string{"a int"}, `{"A":1,"a":2}`, []string{"2"}, ""},
		"openx ignores":                          {OpenX, "", map[string]string{"ignore.malformed.json": "true"}, []string{"a int"}, "nonsense\n{\"a\":1}\n{\"a\":1}}\n", []string{"NULL", "1", "NULL"}, ""},
		"openx does not ignore":                  {OpenX, "", nil, []string{"a int"}, "nonsense\n", nil, "HIVE_CURSOR_ERROR"},
		"a key with an escape":                   {OpenX, "", nil, []string{"a int"}, `{"\u0041":1}`, []string{"1"}, ""},
		"deep":                                   {OpenX, "", map[string]string{"ignore.malformed.json": "true"}, []string{"a int"}, strings.Repeat("[", 100_000), []string{"NULL"}, ""},

		"cloudtrail": {HiveJSON, CloudTrailInput, nil, []string{"eventname string", "useridentity struct<type:string,sessioncontext:struct<sessionissuer:struct<arn:string>>>", "requestparameters string", "responseelements string",
			"resources array<struct<arn:string,accountid:string>>", "readonly string", "useridentity_as_string string"},
			`{"Records": [ {"eventName":"A","userIdentity":{"type":"Root"},"requestParameters":{ "a" : [1, 2] , "b":"x y"},"responseElements":null,"readOnly":false},
				{"eventName":"B","resources":[{"ARN":"arn:x","accountId":"1","type":"t"}],"userIdentity":{"sessionContext":{"sessionIssuer":{"arn":"arn:i"}}}} ], "more": 1}`,
			[]string{`A|map[sessioncontext:<nil> type:Root]|{"a":[1,2],"b":"x y"}|NULL|NULL|false|{"type":"Root"}`,
				`B|map[sessioncontext:map[sessionissuer:map[arn:arn:i]] type:<nil>]|NULL|NULL|[map[accountid:1 arn:arn:x]]|NULL|{"sessionContext":{"sessionIssuer":{"arn":"arn:i"}}}`}, ""},
		"cloudtrail's own serde":      {CloudTrailSerde, CloudTrailInput, nil, []string{"eventname string"}, `{"Records":[{"EVENTNAME":"A"}]}`, []string{"A"}, ""},
		"cloudtrail skips half files": {HiveJSON, CloudTrailInput, nil, []string{"eventname string"}, `{"Records":[{"eventName":"A"},{"eventN`, nil, ""},
		"cloudtrail skips digests":    {HiveJSON, CloudTrailInput, nil, []string{"eventname string"}, `{"awsAccountId":"1"}`, nil, ""},
		"cloudtrail skips text":       {HiveJSON, CloudTrailInput, nil, []string{"eventname string"}, "hello", nil, ""},
		"cloudtrail skips nothing":    {HiveJSON, CloudTrailInput, nil, []string{"eventname string"}, "", nil, ""},
	} {
		_, rd := table(t, c.serde, c.input, c.props, c.columns...)
		got, err := rows(rd, "file", c.body)
		if c.fails != "" {
			if err == nil || !strings.HasPrefix(err.Error(), c.fails) {
				t.Errorf("%s: error %v, rows %q", name, err, got)
			}
			continue
		}
		for i := range got {
			got[i] = strings.ReplaceAll(got[i], "y:<nil>]", "y:NULL]")
			got[i] = strings.ReplaceAll(got[i], "x:<nil> y", "x:NULL y")
		}
		if err != nil || !cmp.Equal(got, c.want) {
			t.Errorf("%s: %v\n got %q\nwant %q", name, err, got, c.want)
		}
	}
}

func TestCompression(t *testing.T) {
	t.Parallel()
	var gz, two, zst bytes.Buffer
	pack := func(w io.WriteCloser, text string) {
		if _, err := w.Write([]byte(text)); err != nil {
			t.Fatal(err)
		}
		if err := w.Close(); err != nil {
			t.Fatal(err)
		}
	}
	pack(gzip.NewWriter(&gz), "1\n2\n")
	pack(gzip.NewWriter(&two), "1\n")
	pack(gzip.NewWriter(&two), "2\n")
	z, err := zstd.NewWriter(&zst)
	if err != nil {
		t.Fatal(err)
	}
	pack(z, "1\n2\n")
	_, rd := table(t, LazySimple, "", nil, "a int")
	for name, body := range map[string]string{"a": "1\n2\n", "a.gz": gz.String(), "b.gz": two.String(), "a.zst": zst.String()} {
		for range 2 { // the second time with what the first gave back
			if got, err := rows(rd, name, body); err != nil || !cmp.Equal(got, []string{"1", "2"}) {
				t.Errorf("%s: %q, %v", name, got, err)
			}
		}
	}
	for name, body := range map[string]string{"a.gz": "plain", "b.gz": gz.String()[:gz.Len()-9], "a.zst": "plain", "a.bz2": "plain", "a.snappy": "1\n"} {
		if got, err := rows(rd, name, body); err == nil || !strings.HasPrefix(err.Error(), "HIVE_") {
			t.Errorf("%s: %q, %v", name, got, err)
		}
	}
	_, trail := table(t, HiveJSON, CloudTrailInput, nil, "eventname string")
	for _, body := range []string{"plain", gz.String()[:gz.Len()-9]} {
		if got, err := rows(trail, "a.json.gz", body); err != nil || got != nil {
			t.Errorf("a broken log file: %q, %v", got, err)
		}
	}
}

func TestFormatOf(t *testing.T) {
	t.Parallel()
	if f, err := FormatOf(&glue.Table{Serde: ParquetSerde, InputFormat: ParquetInput}); f != Parquet || err != nil {
		t.Error(f, err)
	}
	for _, tab := range []glue.Table{{Serde: "org.apache.hadoop.hive.ql.io.orc.OrcSerde"}, {Serde: "com.amazonaws.glue.serde.GrokSerDe"}, {Serde: "com.example.Serde", InputFormat: CloudTrailInput}} {
		if f, err := FormatOf(&tab); err == nil {
			t.Errorf("%s is read as %d", tab.Serde, f)
		}
	}
}

// FuzzJSON: the scanner takes what the standard library takes, and nothing
// else; what it compacts has the same meaning.
func FuzzJSON(f *testing.F) {
	for _, s := range []string{`{"a":[1,-0.5e+3,true,null,"\u00e9\\"]}`, `[]`, `{}`, ` "x" `, `01`, `-`, `1.`, `{"a"}`, `{"a":1,}`, `[1,]`, "\"\x01\"", `"\x"`, `nul`, `tru`, ``, `{"a":`, `"\u12"`, `[[[]]]`, `1 2`, "\"\xff\""} {
		f.Add([]byte(s))
	}
	f.Fuzz(func(t *testing.T, data []byte) {
		s := &scanner{data: data}
		v, err := s.value()
		ok := err == nil && s.end()
		if want := json.Valid(data); ok != want && bytes.Count(data, []byte("["))+bytes.Count(data, []byte("{")) < maxJSONDepth {
			t.Fatalf("%q: valid %v, want %v", data, ok, want)
		}
		if !ok {
			return
		}
		var a, b any
		if json.Unmarshal(v, &a) != nil {
			return // a number that is too large for Go
		}
		if json.Unmarshal([]byte(compact(v)), &b) != nil || utf8.Valid(v) && !cmp.Equal(a, b) {
			t.Fatalf("%q became %q", v, compact(v))
		}
		if v[0] == '"' && utf8.Valid(v) && unquote(v[1:len(v)-1]) != a {
			t.Fatalf("%q is %q, want %q", v, unquote(v[1:len(v)-1]), a)
		}
	})
}

// FuzzRead: no file makes a reader panic, and a failure names Trino's error.
func FuzzRead(f *testing.F) {
	f.Add(uint8(0), []byte("1,a;b,k=v\n"))
	f.Add(uint8(1), []byte("\"1\",2\n"))
	f.Add(uint8(2), []byte(`{"a":1,"b":["x"],"c":{"k":"v"},"d":{"x":{"y":1.5}}}`))
	f.Add(uint8(4), []byte(`{"Records":[{"a":1,"b":["x"],"c":{"k":"v"},"d":{"x":{"y":1.5}}}]}`))
	f.Fuzz(func(t *testing.T, kind uint8, data []byte) {
		serdes := []string{LazySimple, OpenCSV, HiveJSON, OpenX, CloudTrailSerde}
		input := ""
		if int(kind)%len(serdes) == 4 {
			input = CloudTrailInput
		}
		_, rd := table(t, serdes[int(kind)%len(serdes)], input, map[string]string{"field.delim": ",", "collection.delim": ";", "escape.delim": `\`},
			"a decimal(38,10)", "b array<string>", "c map<binary,string>", "d struct<x:struct<y:double>>", "e timestamp")
		if _, err := rows(rd, "f", string(data)); err != nil && !strings.HasPrefix(err.Error(), "HIVE_") {
			t.Fatal(err)
		}
	})
}

// BenchmarkCloudTrail reads a log file of 1000 records of some 1.7 kB.
func BenchmarkCloudTrail(b *testing.B) {
	var doc bytes.Buffer
	doc.WriteString(`{"Records":[`)
	for i := range 1000 {
		if i > 0 {
			doc.WriteByte(',')
		}
		fmt.Fprintf(&doc, `{"eventVersion":"1.11","userIdentity":{"type":"AssumedRole","principalId":"AROAEXAMPLE:session%d","arn":"arn:aws:sts::123456789012:assumed-role/role/session%d","accountId":"123456789012","sessionContext":{"sessionIssuer":{"type":"Role","arn":"arn:aws:iam::123456789012:role/role"}}},"eventTime":"2024-01-01T00:00:00Z","eventSource":"s3.amazonaws.com","eventName":"GetObject","requestParameters":{"bucketName":"bucket","key":"%s"},"responseElements":null,"eventID":"%d"}`, i, i, strings.Repeat("k", 1000), i)
	}
	doc.WriteString("]}")
	_, rd := table(b, HiveJSON, CloudTrailInput, nil, "eventname string", "useridentity struct<type:string,arn:string>", "requestparameters string")
	b.SetBytes(int64(doc.Len()))
	for b.Loop() {
		n := 0
		if err := rd.Read(b.Context(), "f.json", bytes.NewReader(doc.Bytes()), func([]any) error { n++; return nil }); err != nil || n != 1000 {
			b.Fatal(n, err)
		}
	}
}
