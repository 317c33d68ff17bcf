package policy

import (
	"encoding/base64"
	"math/big"
	"net/netip"
	"strconv"
	"strings"
	"time"
)

// operator is the positive form of a condition operator.
type operator uint8

const (
	stringEquals operator = iota
	stringEqualsFold
	stringLike
	numericEquals
	numericLess
	numericLessEquals
	numericGreater
	numericGreaterEquals
	dateEquals
	dateLess
	dateLessEquals
	dateGreater
	dateGreaterEquals
	boolean
	binaryEquals
	ipAddress
	arnLike
	null
)

// operators are the condition operators by name (IAM user guide, "IAM JSON
// policy elements: Condition operators"). A negated operator is true when its
// positive form is false. ArnEquals and ArnLike are the same.
var operators = map[string]struct {
	op      operator
	negated bool
}{
	"StringEquals":              {stringEquals, false},
	"StringNotEquals":           {stringEquals, true},
	"StringEqualsIgnoreCase":    {stringEqualsFold, false},
	"StringNotEqualsIgnoreCase": {stringEqualsFold, true},
	"StringLike":                {stringLike, false},
	"StringNotLike":             {stringLike, true},
	"NumericEquals":             {numericEquals, false},
	"NumericNotEquals":          {numericEquals, true},
	"NumericLessThan":           {numericLess, false},
	"NumericLessThanEquals":     {numericLessEquals, false},
	"NumericGreaterThan":        {numericGreater, false},
	"NumericGreaterThanEquals":  {numericGreaterEquals, false},
	"DateEquals":                {dateEquals, false},
	"DateNotEquals":             {dateEquals, true},
	"DateLessThan":              {dateLess, false},
	"DateLessThanEquals":        {dateLessEquals, false},
	"DateGreaterThan":           {dateGreater, false},
	"DateGreaterThanEquals":     {dateGreaterEquals, false},
	"Bool":                      {boolean, false},
	"BinaryEquals":              {binaryEquals, false},
	"IpAddress":                 {ipAddress, false},
	"NotIpAddress":              {ipAddress, true},
	"ArnEquals":                 {arnLike, false},
	"ArnLike":                   {arnLike, false},
	"ArnNotEquals":              {arnLike, true},
	"ArnNotLike":                {arnLike, true},
	"Null":                      {null, false},
}

// operand is one value of a condition, read as the operator's type when the
// policy is compiled. A value that is not of that type matches nothing.
type operand struct {
	text    string // as written
	pattern pattern
	valid   bool
	number  decimal
	instant time.Time
	network netip.Prefix
	binary  string
}

// compileOperand reads a value. Variables stand only in text and ARN operators
// and Bool (IAM user guide, "Where you can use policy variables").
func compileOperand(op operator, s string, variables bool) operand {
	var o operand
	switch op {
	case numericEquals, numericLess, numericLessEquals, numericGreater, numericGreaterEquals:
		o.number, o.valid = parseDecimal(s)
	case dateEquals, dateLess, dateLessEquals, dateGreater, dateGreaterEquals:
		o.instant, o.valid = parseInstant(s)
	case binaryEquals:
		b, err := base64.StdEncoding.DecodeString(s)
		o.binary, o.valid = string(b), err == nil
	case ipAddress:
		o.network, o.valid = parseNetwork(s)
	case null:
		o.pattern, o.valid = compilePattern(strings.ToLower(s), false), true
	default:
		o.pattern, o.valid = compilePattern(s, variables), true
	}
	return o
}

// matches compares a request's value with an operand.
func (op operator) matches(want *operand, have string, ctx Context) bool {
	if !want.valid {
		return false
	}
	switch op {
	case stringLike:
		return want.pattern.match(have, ctx)
	case arnLike:
		return want.pattern.matchARN(have, ctx)
	case stringEquals, null:
		text, ok := want.pattern.literalText(ctx)
		return ok && text == have
	case stringEqualsFold, boolean:
		text, ok := want.pattern.literalText(ctx)
		return ok && strings.EqualFold(text, have)
	case binaryEquals:
		b, err := base64.StdEncoding.DecodeString(have)
		return err == nil && string(b) == want.binary
	case ipAddress:
		a, err := netip.ParseAddr(have)
		return err == nil && want.network.Contains(a.Unmap().WithZone(""))
	case numericEquals, numericLess, numericLessEquals, numericGreater, numericGreaterEquals:
		n, ok := parseDecimal(have)
		return ok && op.accepts(n.compare(&want.number))
	}
	t, ok := parseInstant(have)
	return ok && op.accepts(t.Compare(want.instant))
}

// accepts says whether an ordering operator holds for the sign of a comparison.
func (op operator) accepts(order int) bool {
	switch op {
	case numericLess, dateLess:
		return order < 0
	case numericLessEquals, dateLessEquals:
		return order <= 0
	case numericGreater, dateGreater:
		return order > 0
	case numericGreaterEquals, dateGreaterEquals:
		return order >= 0
	}
	return order == 0
}

// matchARN compares ARNs part by part: no wildcard reaches over one of the
// first five colons.
func (p *pattern) matchARN(have string, ctx Context) bool {
	switch p.form {
	case formAny:
		return true
	case formLiteral:
		return p.plain == have
	case formGlob:
		return globSegments(p.tokens, have)
	}
	var room [stackTokens]token
	t, ok := room[:0], true
	if p.form == formPrefix {
		t, _ = expand(t, []part{{text: p.plain}}, nil)
		t = append(t, anyRun)
	} else {
		t, ok = expand(t, p.parts, ctx)
	}
	return ok && globSegments(t, have)
}

// decimal is a number: in r when it is no int64.
type decimal struct {
	i int64
	r *big.Rat
}

// maxNumber bounds a number's text, in bytes, so that comparing stays cheap.
const maxNumber = 64

func parseDecimal(s string) (decimal, bool) {
	if i, err := strconv.ParseInt(s, 10, 64); err == nil {
		return decimal{i: i}, true
	}
	if len(s) > maxNumber {
		return decimal{}, false
	}
	mantissa, exponent := s, ""
	if i := strings.IndexAny(s, "eE"); i >= 0 {
		mantissa, exponent = s[:i], s[i+1:]
	}
	// An exponent of many digits would ask for a number of any size.
	if strings.Trim(mantissa, "+-.0123456789") != "" || len(exponent) > 4 || strings.Trim(exponent, "+-0123456789") != "" {
		return decimal{}, false
	}
	r, ok := new(big.Rat).SetString(s)
	return decimal{r: r}, ok
}

func (d *decimal) compare(e *decimal) int {
	if d.r == nil && e.r == nil {
		switch {
		case d.i < e.i:
			return -1
		case d.i > e.i:
			return 1
		}
		return 0
	}
	return d.rat().Cmp(e.rat())
}

func (d *decimal) rat() *big.Rat {
	if d.r != nil {
		return d.r
	}
	return new(big.Rat).SetInt64(d.i)
}

// yearDigits is the length of a date that is only a year; a longer number
// counts seconds since 1970.
const yearDigits = 4

// parseInstant reads the W3C profile of ISO 8601, or seconds since 1970.
func parseInstant(s string) (time.Time, bool) {
	if len(s) > maxNumber {
		return time.Time{}, false
	}
	if len(s) > yearDigits {
		if sec, err := strconv.ParseInt(s, 10, 64); err == nil {
			return time.Unix(sec, 0), true
		}
	}
	for _, layout := range [...]string{time.RFC3339Nano, "2006-01-02T15:04Z07:00", time.DateOnly, "2006-01", "2006"} {
		if t, err := time.Parse(layout, s); err == nil {
			return t, true
		}
	}
	return time.Time{}, false
}

// parseNetwork reads a CIDR block, or an address as a block of itself.
func parseNetwork(s string) (netip.Prefix, bool) {
	if p, err := netip.ParsePrefix(s); err == nil {
		if a, bits := p.Addr(), p.Bits()-(128-32); a.Is4In6() && bits >= 0 {
			p = netip.PrefixFrom(a.Unmap(), bits)
		}
		return p.Masked(), true
	}
	a, err := netip.ParseAddr(s)
	if err != nil || a.Zone() != "" {
		return netip.Prefix{}, false
	}
	a = a.Unmap()
	return netip.PrefixFrom(a, a.BitLen()), true
}
