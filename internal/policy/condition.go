package policy

import (
	"encoding/base64"
	"math/big"
	"net/netip"
	"sort"
	"strconv"
	"strings"
	"time"
)

// Context gives a request's condition keys, by their lower-case names. ok is
// false for a key that the request does not have.
type Context interface {
	Lookup(key string) (values []string, ok bool)
}

// Values is a Context made of a map with lower-case keys.
type Values map[string][]string

// Lookup returns the key's values.
func (v Values) Lookup(key string) ([]string, bool) {
	x, ok := v[key]
	return x, ok
}

// condition is one operator on one key.
type condition struct {
	key      string
	values   []pattern
	test     test
	negated  bool
	ifExists bool
	set      setOperator
	null     bool // the Null operator
}

type setOperator uint8

const (
	single setOperator = iota
	forAll
	forAny
)

// test compares a request's value with one of the policy's.
type test func(want *pattern, have string, ctx Context) bool

// operators are the condition operators of the IAM user guide, "IAM JSON
// policy elements: Condition operators". A negated operator is true when its
// positive form is false.
func operator(name string) (t test, negated, ok bool) {
	switch name {
	case "StringEquals":
		return stringEquals, false, true
	case "StringNotEquals":
		return stringEquals, true, true
	case "StringEqualsIgnoreCase":
		return stringFold, false, true
	case "StringNotEqualsIgnoreCase":
		return stringFold, true, true
	case "StringLike":
		return stringLike, false, true
	case "StringNotLike":
		return stringLike, true, true
	case "NumericEquals":
		return numeric(func(c int) bool { return c == 0 }), false, true
	case "NumericNotEquals":
		return numeric(func(c int) bool { return c == 0 }), true, true
	case "NumericLessThan":
		return numeric(func(c int) bool { return c < 0 }), false, true
	case "NumericLessThanEquals":
		return numeric(func(c int) bool { return c <= 0 }), false, true
	case "NumericGreaterThan":
		return numeric(func(c int) bool { return c > 0 }), false, true
	case "NumericGreaterThanEquals":
		return numeric(func(c int) bool { return c >= 0 }), false, true
	case "DateEquals":
		return date(func(c int) bool { return c == 0 }), false, true
	case "DateNotEquals":
		return date(func(c int) bool { return c == 0 }), true, true
	case "DateLessThan":
		return date(func(c int) bool { return c < 0 }), false, true
	case "DateLessThanEquals":
		return date(func(c int) bool { return c <= 0 }), false, true
	case "DateGreaterThan":
		return date(func(c int) bool { return c > 0 }), false, true
	case "DateGreaterThanEquals":
		return date(func(c int) bool { return c >= 0 }), false, true
	case "Bool":
		return stringFold, false, true
	case "BinaryEquals":
		return binaryEquals, false, true
	case "IpAddress":
		return ipAddress, false, true
	case "NotIpAddress":
		return ipAddress, true, true
	case "ArnEquals", "ArnLike":
		return arnLike, false, true
	case "ArnNotEquals", "ArnNotLike":
		return arnLike, true, true
	}
	return nil, false, false
}

// conditions compiles a Condition element.
func (c compiler) conditions(v any) ([]condition, error) {
	obj, ok := v.(map[string]any)
	if !ok {
		return nil, malformed("Condition must be an object")
	}
	var out []condition
	for name, x := range obj {
		keys, ok := x.(map[string]any)
		if !ok {
			return nil, malformed("condition operator %s must hold an object", name)
		}
		proto, err := parseOperator(name)
		if err != nil {
			return nil, err
		}
		for key, vals := range keys {
			if key == "" || strings.ContainsAny(key, " \t\n") {
				return nil, malformed("invalid condition key %q", key)
			}
			cond := proto
			cond.key = strings.ToLower(key)
			if cond.values, err = c.conditionValues(vals); err != nil {
				return nil, err
			}
			out = append(out, cond)
		}
	}
	// A fixed order makes evaluation repeatable.
	sort.SliceStable(out, func(i, j int) bool { return out[i].key < out[j].key })
	return out, nil
}

func parseOperator(name string) (condition, error) {
	var c condition
	base := name
	if rest, ok := strings.CutPrefix(base, "ForAllValues:"); ok {
		c.set, base = forAll, rest
	} else if rest, ok := strings.CutPrefix(base, "ForAnyValue:"); ok {
		c.set, base = forAny, rest
	}
	if base == "Null" {
		c.null = true
		return c, nil
	}
	if rest, ok := strings.CutSuffix(base, "IfExists"); ok {
		c.ifExists, base = true, rest
	}
	t, negated, ok := operator(base)
	if !ok {
		return c, malformed("Invalid Condition type : %s.", name)
	}
	c.test, c.negated = t, negated
	return c, nil
}

func (c compiler) conditionValues(v any) ([]pattern, error) {
	list, ok := v.([]any)
	if !ok {
		list = []any{v}
	}
	out := make([]pattern, 0, len(list))
	for _, x := range list {
		var s string
		switch y := x.(type) {
		case string:
			s = y
		case bool:
			s = strconv.FormatBool(y)
		case interface{ String() string }: // json.Number
			s = y.String()
		default:
			return nil, malformed("a condition's value must be a string, number or boolean")
		}
		out = append(out, compilePattern(s, c.variables))
	}
	return out, nil
}

// holds evaluates the condition for a request.
func (c *condition) holds(ctx Context) bool {
	have, ok := ctx.Lookup(c.key)
	ok = ok && len(have) > 0
	if c.null {
		for i := range c.values {
			if strings.EqualFold(c.values[i].text, "true") == !ok {
				return true
			}
		}
		return false
	}
	if !ok {
		// An absent key: true for IfExists, for ForAllValues, and for negated
		// operators, which ask that no value match.
		return c.ifExists || c.set == forAll || c.negated && c.set == single
	}
	switch c.set {
	case forAll:
		for _, h := range have {
			if c.matches(h, ctx) == c.negated {
				return false
			}
		}
		return true
	case forAny:
		for _, h := range have {
			if c.matches(h, ctx) != c.negated {
				return true
			}
		}
		return false
	}
	// A key with several values and no set operator matches when any does.
	for _, h := range have {
		if c.matches(h, ctx) {
			return !c.negated
		}
	}
	return c.negated
}

func (c *condition) matches(have string, ctx Context) bool {
	for i := range c.values {
		if c.test(&c.values[i], have, ctx) {
			return true
		}
	}
	return false
}

// resolve gives the policy's value with its variables expanded.
func resolve(p *pattern, ctx Context) (string, bool) {
	if p.form != formVariable {
		return p.text, true
	}
	return expand(p.text, ctx)
}

func stringEquals(want *pattern, have string, ctx Context) bool {
	w, ok := resolve(want, ctx)
	return ok && plain(w) == have
}

func stringFold(want *pattern, have string, ctx Context) bool {
	w, ok := resolve(want, ctx)
	return ok && strings.EqualFold(plain(w), have)
}

func stringLike(want *pattern, have string, ctx Context) bool { return want.match(have, ctx) }

func numeric(accept func(int) bool) test {
	return func(want *pattern, have string, ctx Context) bool {
		w, ok := resolve(want, ctx)
		a, okA := number(have)
		b, okB := number(w)
		return ok && okA && okB && accept(a.Cmp(b))
	}
}

// maxNumber bounds a number's text, in bytes, so that comparing stays cheap.
const maxNumber = 64

func number(s string) (*big.Rat, bool) {
	// Exponents could ask for numbers of any size.
	if len(s) > maxNumber || strings.ContainsAny(s, "eEpPxX/_") {
		return nil, false
	}
	return new(big.Rat).SetString(s)
}

func date(accept func(int) bool) test {
	return func(want *pattern, have string, ctx Context) bool {
		w, ok := resolve(want, ctx)
		a, okA := instant(have)
		b, okB := instant(w)
		return ok && okA && okB && accept(a.Compare(b))
	}
}

// instant reads the W3C profile of ISO 8601, or seconds since 1970.
func instant(s string) (time.Time, bool) {
	if sec, err := strconv.ParseInt(s, 10, 64); err == nil && len(s) > 4 {
		return time.Unix(sec, 0), true
	}
	for _, layout := range []string{time.RFC3339Nano, "2006-01-02T15:04Z07:00", "2006-01-02", "2006-01", "2006"} {
		if t, err := time.Parse(layout, s); err == nil {
			return t, true
		}
	}
	return time.Time{}, false
}

func binaryEquals(want *pattern, have string, ctx Context) bool {
	w, ok := resolve(want, ctx)
	a, errA := base64.StdEncoding.DecodeString(w)
	b, errB := base64.StdEncoding.DecodeString(have)
	return ok && errA == nil && errB == nil && string(a) == string(b)
}

func ipAddress(want *pattern, have string, ctx Context) bool {
	w, ok := resolve(want, ctx)
	if !ok {
		return false
	}
	addr, err := netip.ParseAddr(have)
	if err != nil {
		return false
	}
	addr = addr.Unmap()
	if prefix, err := netip.ParsePrefix(w); err == nil {
		return prefix.Contains(addr)
	}
	one, err := netip.ParseAddr(w)
	return err == nil && one.Unmap() == addr
}

// arnLike compares ARNs part by part: a wildcard does not reach over a colon
// of the first five.
func arnLike(want *pattern, have string, ctx Context) bool {
	w, ok := resolve(want, ctx)
	if !ok {
		return false
	}
	if w == "*" {
		return true
	}
	a, b := strings.SplitN(w, ":", 6), strings.SplitN(have, ":", 6)
	if len(a) != 6 || len(b) != 6 {
		return false
	}
	for i := range a {
		if !glob(a[i], b[i]) {
			return false
		}
	}
	return true
}
