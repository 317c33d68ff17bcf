package eventpattern

import (
	"encoding/json"
	"fmt"
	"math/rand/v2"
	"strings"
)

// oracleCase is one pattern with events, and what event-ruler says of them.
type oracleCase struct {
	Pattern string   `json:"p"`
	Events  []string `json:"e"`
	Refused string   `json:"err,omitempty"`
	Match   []bool   `json:"m,omitempty"`
}

// generator makes patterns and events of one small vocabulary, so that many
// pairs nearly match. The empty string is left out: event-ruler 2.1 does not
// find it beside a range of numbers.
type generator struct{ *rand.Rand }

var (
	genNames   = []string{"a", "b", "c", "d", "a.b"}
	genStrings = []string{"x", "X", "xy", "Xyz", "xyz", "yzx", "zx*y", `z\y`, "é", "É", "ärger", "10.0.0.1", "10.0.0.77",
		"10.0.1.1", "010.0.0.1", "2001:db8::1", "2001:db8:0::1", "2001:db9::", "5", "true", "xyxyxz", "ConsoleLogin"}
	genNumbers = []string{"0", "-0", "1", "1.0", "1e0", "10e-1", "5", "-5", "5.5", "0.1", "0.10000000000000001", "100", "1e2",
		"5e9", "6000000000", "123456789012345678901", "1e20", "9007199254740993", "1e400", "3.018e2", "301.8"}
	genLiterals  = []string{"true", "false", "null"}
	genWildcards = []string{"*", "x*", "*x", "x*z", "*y*", "x*x*z", `zx\*y`, `z\\y`, "xyz", "", "*.0.*"}
	genBlocks    = []string{"10.0.0.0/24", "10.0.0.9/8", "2001:db8::/32", "10.0.0.1/31"}
	genNoBlocks  = []string{"10.0.0.1/32", "10.0.0/8", "x/1", "10.0.0.1", "300.0.0.1/8", "2001:db8::1/128"}
	genBroken    = []string{"x**", `\q`, `x\`}
)

func pick[T any](g generator, of []T) T { return of[g.IntN(len(of))] }

func quote(s string) string {
	b, _ := json.Marshal(s)
	return string(b)
}

func (g generator) scalar() string {
	switch g.IntN(5) {
	case 0, 1, 2:
		return quote(pick(g, genStrings))
	case 3:
		return pick(g, genNumbers)
	}
	return pick(g, genLiterals)
}

func (g generator) event(depth int) string {
	var b strings.Builder
	b.WriteByte('{')
	used := map[string]bool{}
	for range 1 + g.IntN(4) {
		name := pick(g, genNames)
		if used[name] || used["a"] && name == "a.b" || used["a.b"] && name == "a" {
			continue
		}
		if len(used) > 0 {
			b.WriteByte(',')
		}
		used[name] = true
		fmt.Fprintf(&b, "%q:%s", name, g.eventValue(depth))
	}
	b.WriteByte('}')
	return b.String()
}

func (g generator) eventValue(depth int) string {
	switch n := g.IntN(10); {
	case n < 4 || depth == 0:
		return g.scalar()
	case n < 7:
		return g.event(depth - 1)
	}
	elements := make([]string, g.IntN(4))
	for i := range elements {
		elements[i] = g.eventValue(depth - 1)
	}
	return "[" + strings.Join(elements, ",") + "]"
}

func (g generator) pattern(depth int) string {
	var members []string
	used := map[string]bool{}
	if g.IntN(6) == 0 {
		alternatives := make([]string, 2+g.IntN(2)-g.IntN(10)/9)
		for i := range alternatives {
			alternatives[i] = g.pattern(depth - 1)
		}
		members = append(members, `"$or":[`+strings.Join(alternatives, ",")+"]")
	}
	for range 1 + g.IntN(3) {
		name := pick(g, genNames)
		if used[name] {
			continue
		}
		used[name] = true
		if depth > 0 && g.IntN(3) == 0 {
			members = append(members, quote(name)+":"+g.pattern(depth-1))
			continue
		}
		values := make([]string, 1+g.IntN(3))
		if g.IntN(60) == 0 {
			values = nil
		}
		for i := range values {
			values[i] = g.patternValue()
		}
		members = append(members, quote(name)+":["+strings.Join(values, ",")+"]")
	}
	return "{" + strings.Join(members, ",") + "}"
}

func (g generator) patternValue() string {
	if g.IntN(3) == 0 {
		return g.scalar()
	}
	s := func() string { return quote(pick(g, genStrings)) }
	odd := func(usual string) string {
		if g.IntN(40) == 0 {
			return pick(g, []string{"1", "null", "{}", `["x"]`, `{"prefix":"x"}`, `""`, "true"})
		}
		return usual
	}
	list := func(one func() string) string {
		if g.IntN(2) == 0 {
			return one()
		}
		var all []string
		for range 1 + g.IntN(3) {
			all = append(all, one())
		}
		return "[" + strings.Join(all, ",") + "]"
	}
	wild := func() string {
		if g.IntN(30) == 0 {
			return quote(pick(g, genBroken))
		}
		return quote(pick(g, genWildcards))
	}
	number := func() string {
		if g.IntN(5) == 0 {
			return pick(g, genNumbers)
		}
		return pick(g, genNumbers[:13])
	}
	switch g.IntN(15) {
	case 0:
		return `{"prefix":` + odd(s()) + "}"
	case 1:
		return `{"suffix":` + odd(s()) + "}"
	case 2:
		return `{"equals-ignore-case":` + odd(s()) + "}"
	case 3:
		return `{"wildcard":` + odd(wild()) + "}"
	case 4:
		return `{"exists":` + odd(pick(g, []string{"true", "false"})) + "}"
	case 5:
		return `{"prefix":{"equals-ignore-case":` + odd(s()) + "}}"
	case 6:
		return `{"suffix":{"equals-ignore-case":` + odd(s()) + "}}"
	case 7:
		return `{"anything-but":` + odd(list(s)) + "}"
	case 8:
		return `{"anything-but":` + odd(list(number)) + "}"
	case 9:
		op := pick(g, []string{"prefix", "suffix", "equals-ignore-case"})
		return `{"anything-but":{` + quote(op) + ":" + odd(list(s)) + "}}"
	case 10:
		// event-ruler 2.1 mixes up other operators' answers with this one's when
		// it excludes everything.
		but := func() string { return strings.Replace(wild(), `"*"`, `"*x*y"`, 1) }
		return `{"anything-but":{"wildcard":` + odd(list(but)) + "}}"
	case 11:
		if g.IntN(10) == 0 {
			return `{"cidr":` + quote(pick(g, genNoBlocks)) + "}"
		}
		return `{"cidr":` + odd(quote(pick(g, genBlocks))) + "}"
	case 12:
		op := pick(g, []string{"=", "<", "<=", ">", ">="})
		return `{"numeric":[` + quote(op) + "," + odd(number()) + "]}"
	case 13:
		return `{"numeric":[` + quote(pick(g, []string{">", ">="})) + "," + number() + "," +
			quote(pick(g, []string{"<", "<="})) + "," + odd(number()) + "]}"
	}
	if g.IntN(20) == 0 {
		return `{"regex":"x"}`
	}
	return `{"exactly":` + s() + "}"
}

func (g generator) oracleCase(events int) oracleCase {
	c := oracleCase{Pattern: g.pattern(g.IntN(3))}
	for len(c.Pattern) > MaxSize {
		c.Pattern = g.pattern(g.IntN(3))
	}
	for range events {
		c.Events = append(c.Events, g.event(4))
	}
	return c
}
