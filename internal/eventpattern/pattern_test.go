package eventpattern

import (
	"errors"
	"math/rand/v2"
	"strings"
	"testing"
	"time"

	"spoor/internal/aws"
)

const event = `{
 "version":"0","id":"a-b","detail-type":"AWS API Call via CloudTrail","source":"aws.athena","account":"123456789012",
 "time":"2026-01-02T03:04:05Z","region":"eu-west-1","resources":["arn:1","arn:2"],
 "detail":{"eventName":"StartQueryExecution","eventSource":"athena.amazonaws.com","readOnly":false,"sourceIPAddress":"10.1.2.3",
  "userIdentity":{"type":"IAMUser","userName":"Alice","sessionContext":{"attributes":{"mfaAuthenticated":"false"}}},
  "requestParameters":{"n":5,"tags":[{"key":"team","value":"red"},{"key":"env","value":"prod"}],"none":null,"empty":[]},
  "blank":"","quoted":"a\"b\u00e9\\","a.b":{"c":"dotted"}}}`

func TestMatch(t *testing.T) {
	t.Parallel()
	for _, tc := range []struct {
		pattern string
		want    bool
	}{
		{`{"source":["aws.athena"]}`, true},
		{`{"source":["aws.s3","aws.athena"],"region":[{"prefix":"eu-"}]}`, true},
		{`{"source":["aws.athena"],"region":[{"prefix":"us-"}]}`, false},
		{`{"resources":["arn:2"]}`, true},
		{`{"detail":{"readOnly":[false]}}`, true},
		{`{"detail":{"readOnly":["false"]}}`, false},
		{`{"detail":{"requestParameters":{"n":[5.0]}}}`, true},
		{`{"detail":{"requestParameters":{"n":[{"numeric":[">",0,"<=",5]}]}}}`, true},
		{`{"detail":{"requestParameters":{"n":[{"numeric":[">",5]}]}}}`, false},
		{`{"detail":{"requestParameters":{"none":[null]}}}`, true},
		{`{"detail":{"requestParameters":{"empty":[{"exists":false}]}}}`, true},
		{`{"detail":{"errorCode":[{"exists":false}]}}`, true},
		{`{"detail":{"errorCode":[{"exists":true}]}}`, false},
		{`{"detail":{"userIdentity":[{"exists":true}]}}`, false}, // no leaf
		{`{"detail":{"sourceIPAddress":[{"cidr":"10.0.0.0/8"}]}}`, true},
		{`{"detail":{"sourceIPAddress":[{"cidr":"10.2.0.0/16"}]}}`, false},
		{`{"detail":{"userIdentity":{"userName":[{"equals-ignore-case":"ALICE"}]}}}`, true},
		{`{"detail":{"eventName":[{"wildcard":"Start*Exec*"}]}}`, true},
		{`{"detail":{"eventName":[{"anything-but":{"prefix":["Get","List"]}}]}}`, true},
		{`{"detail":{"eventName":[{"anything-but":{"wildcard":"*Query*"}}]}}`, false},
		{`{"detail":{"requestParameters":{"tags":{"key":["team"],"value":["red"]}}}}`, true},
		{`{"detail":{"requestParameters":{"tags":{"key":["team"],"value":["prod"]}}}}`, false}, // of different elements
		{`{"detail":{"$or":[{"eventName":["X"]},{"readOnly":[false]}]},"source":["aws.athena"]}`, true},
		{`{"$or":[{"source":["x"]},{"source":["y"]}]}`, false},
		{`{"detail":{"quoted":["a\"bé\\"]}}`, true},
		{`{"detail":{"blank":["",{"numeric":["<=",1]}]}}`, true},
		{`{"detail":{"blank":[{"prefix":""}]}}`, true},
		{`{"detail":{"blank":[{"wildcard":"*"}]}}`, true},
		{`{"detail":{"blank":[{"anything-but":"x"}]}}`, true},
		{`{"detail":{"a":{"b.c":["dotted"]}}}`, true},
	} {
		p, err := Compile([]byte(tc.pattern))
		if err != nil {
			t.Errorf("%s: %v", tc.pattern, err)
		} else if got := p.Match([]byte(event)); got != tc.want {
			t.Errorf("%s: %v, want %v", tc.pattern, got, tc.want)
		}
	}
}

func TestRefused(t *testing.T) {
	t.Parallel()
	many := `"$or":[` + strings.Repeat(`{"a":[1]},`, 31) + `{"a":[1]}]`
	for pattern, want := range map[string]string{
		`{"source":"aws.s3"}`: `Event pattern is not valid. Reason: "source" must be an object or an array at ` +
			`[Source: (String)"{"source":"aws.s3"}"; line: 1, column: 12]`,
		`{}`: `Event pattern is not valid. Reason: Empty objects are not allowed at [Source: (String)"{}"; line: 1, column: 3]`,
		"{\n\"a\":[]}": "Event pattern is not valid. Reason: Empty arrays are not allowed at [Source: (String)\"{\n" +
			"\"a\":[]}\"; line: 2, column: 7]",
		`{` + many + `,"b":{` + many + `}}`:      "make more than 1000 combinations",
		`{"a":["` + strings.Repeat("x", MaxSize): "at most 4096 characters",
		`{"a":[1]} x`:                            "invalid character",
		``:                                       "unexpected end",
	} {
		_, err := Compile([]byte(pattern))
		e, ok := errors.AsType[*aws.Error](err)
		if !ok || e.Code != "InvalidEventPatternException" || !strings.Contains(e.Message, want) {
			t.Errorf("%.60s: %v, want %s", pattern, err, want)
		}
	}
}

// TestSearchEnds has arrays whose elements could be combined in 40^6 ways, none
// of which will do.
func TestSearchEnds(t *testing.T) {
	t.Parallel()
	var element, pattern strings.Builder
	for _, name := range []string{"a", "b", "c", "d", "e", "f"} {
		element.WriteString(`"` + name + `":[` + strings.Repeat(`{"v":1},`, 39) + `{"v":1}],`)
		pattern.WriteString(`"` + name + `":{"v":[1]},`)
	}
	p, err := Compile([]byte(`{"x":{` + pattern.String() + `"z":[1]}}`))
	if err != nil {
		t.Fatal(err)
	}
	start := time.Now()
	if p.Match([]byte(`{"x":[{` + element.String() + `"z":2},{"z":1}]}`)) {
		t.Error("elements of different objects match together")
	}
	if took := time.Since(start); took > 5*time.Second {
		t.Errorf("it took %v", took)
	}
}

func TestFilter(t *testing.T) {
	t.Parallel()
	p, err := Compile([]byte(`{"source":["aws.athena"],"detail":{"$or":[{"eventName":["A"]},{"eventName":[{"prefix":"B"}],"x":[1]},{"y":[1]}]}}`))
	if err != nil {
		t.Fatal(err)
	}
	f := p.Filter("source", "detail.eventName")
	for known, want := range map[[2]string]bool{{"aws.athena", "A"}: true, {"aws.athena", "C"}: true, {"aws.s3", "A"}: false} {
		if got := f.May(func(i int) string { return known[i] }); got != want {
			t.Errorf("May(%v) = %v", known, got)
		}
	}
	// What the filter refuses does not match.
	g := generator{rand.New(rand.NewPCG(1, 2))}
	refused := 0
	for range 3000 {
		p, err := Compile([]byte(g.pattern(1)))
		if err != nil {
			continue
		}
		known := pick(g, genStrings)
		if !p.Filter("a").May(func(int) string { return known }) {
			refused++
			if e := `{"a":` + quote(known) + `,"b":` + g.eventValue(1) + "}"; p.Match([]byte(e)) {
				t.Errorf("%s matches, which the filter refused", e)
			}
		}
	}
	if refused < 200 {
		t.Errorf("%d refused", refused)
	}
}

func FuzzCompile(f *testing.F) {
	g := generator{rand.New(rand.NewPCG(3, 4))}
	for range 50 {
		c := g.oracleCase(1)
		f.Add(c.Pattern, c.Events[0])
	}
	f.Add(`{"a":[{"numeric":`, event)
	f.Add(`{"$or":[{}]}`, `{"a":[[[{"a":"\`)
	f.Fuzz(func(t *testing.T, pattern, event string) {
		p, err := Compile([]byte(pattern))
		if err != nil {
			if e, ok := errors.AsType[*aws.Error](err); !ok || e.Code != "InvalidEventPatternException" {
				t.Fatalf("not AWS's error: %v", err)
			}
			return
		}
		p.Match([]byte(event))
	})
}

var benchmarks = map[string]string{
	"source":   `{"source":["aws.s3"]}`,
	"detail":   `{"source":["aws.athena"],"detail":{"eventName":["StopQueryExecution",{"prefix":"Delete"}]}}`,
	"operator": `{"detail":{"userIdentity":{"userName":[{"wildcard":"A*e"}]},"sourceIPAddress":[{"cidr":"10.0.0.0/8"}],"requestParameters":{"n":[{"numeric":[">",1]}]}}}`,
}

func BenchmarkMatch(b *testing.B) {
	for name, pattern := range benchmarks {
		p, err := Compile([]byte(pattern))
		if err != nil {
			b.Fatal(err)
		}
		b.Run(name, func(b *testing.B) {
			b.SetBytes(int64(len(event)))
			b.ReportAllocs()
			for b.Loop() {
				p.Match([]byte(event))
			}
		})
	}
	p, err := Compile([]byte(benchmarks["detail"]))
	if err != nil {
		b.Fatal(err)
	}
	f := p.Filter("source", "detail-type", "account", "region", "detail.eventName")
	known := []string{"aws.athena", "AWS API Call via CloudTrail", "123456789012", "eu-west-1", "StartQueryExecution"}
	b.Run("filter", func(b *testing.B) {
		b.ReportAllocs()
		for b.Loop() {
			f.May(func(i int) string { return known[i] })
		}
	})
}
