package policy

import (
	"encoding/json"
	"strconv"
	"strings"
)

// Context gives a request's condition keys, by their lower-case names. ok is
// false for a key that the request does not have. It is asked only for keys
// that a policy uses, so values may be made when they are asked for.
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

// noContext is the context of a request that has none.
type noContext struct{}

func (noContext) Lookup(string) ([]string, bool) { return nil, false }

// condition is one operator on one key. Its operands are alternatives.
type condition struct {
	key      string // lower-case
	name     string // as written
	written  string // the operator, as written
	op       operator
	negated  bool
	ifExists bool
	set      setOperator
	operands []operand
}

type setOperator uint8

const (
	single setOperator = iota
	forAll
	forAny
)

// maxOperands bounds the values of a condition, over the keys of an operator.
const maxOperands = 1024

// conditions compiles a Condition element.
func (c compiler) conditions(v any) ([]condition, error) {
	obj, ok := v.(object)
	if !ok {
		return nil, malformed(BadGrammar, "Condition must be an object")
	}
	var out []condition
	for _, m := range obj {
		keys, ok := m.value.(object)
		if !ok {
			return nil, malformed(BadGrammar, "the condition %s must be an object", m.name)
		}
		proto, err := parseOperator(m.name)
		if err != nil {
			return nil, err
		}
		for _, k := range keys {
			// The vendor may be an identity provider's host and path; the name after
			// it may be a tag's, which may have blanks.
			if vendor, _, ok := strings.Cut(k.name, ":"); !ok || vendor == "" || strings.ContainsAny(vendor, " \t\r\n") {
				return nil, malformed(BadConditionKey, "%q", k.name)
			}
			cond := proto
			cond.key, cond.name, cond.written = strings.ToLower(k.name), k.name, m.name
			if cond.operands, err = c.operands(proto.op, k.value); err != nil {
				return nil, err
			}
			out = append(out, cond)
		}
	}
	return out, nil
}

// parseOperator reads [ForAllValues:|ForAnyValue:]Operator[IfExists].
func parseOperator(name string) (condition, error) {
	var c condition
	base := name
	if rest, ok := strings.CutPrefix(base, "ForAllValues:"); ok {
		c.set, base = forAll, rest
	} else if rest, ok := strings.CutPrefix(base, "ForAnyValue:"); ok {
		c.set, base = forAny, rest
	}
	base, c.ifExists = strings.CutSuffix(base, "IfExists")
	o, ok := operators[base]
	if !ok || o.op == null && c.ifExists { // Null itself asks for existence
		return c, malformed(BadCondition, "%s", name)
	}
	c.op, c.negated = o.op, o.negated
	return c, nil
}

func (c compiler) operands(op operator, v any) ([]operand, error) {
	list, ok := v.([]any)
	if !ok {
		list = []any{v}
	}
	if len(list) > maxOperands {
		return nil, malformed(TooLong, "a condition has more than %d values", maxOperands)
	}
	out := make([]operand, 0, len(list))
	for _, x := range list {
		var s string
		switch y := x.(type) {
		case string:
			s = y
		case bool:
			s = strconv.FormatBool(y)
		case json.Number:
			s = y.String()
		default:
			return nil, malformed(BadGrammar, "the value of a condition must be a string, number or boolean")
		}
		o := compileOperand(op, s, c.variables)
		o.text = s
		out = append(out, o)
	}
	return out, nil
}

// holds evaluates the condition for a request.
func (c *condition) holds(ctx Context) bool {
	have, ok := ctx.Lookup(c.key)
	ok = ok && len(have) > 0
	if c.set != single && ok && len(have) == 1 && have[0] == "" {
		ok = false // an empty text is an empty set to the set operators
	}
	if c.op == null {
		return c.matches(strconv.FormatBool(!ok), ctx)
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
	for i := range c.operands {
		if c.op.matches(&c.operands[i], have, ctx) {
			return true
		}
	}
	return false
}
