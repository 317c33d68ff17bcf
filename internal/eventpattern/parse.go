package eventpattern

import (
	"bytes"
	"encoding/json"
	"fmt"
	"math"
	"net/netip"
	"slices"
	"strconv"
	"strings"
	"unicode/utf16"
)

// token is one token of a pattern. kind is the first byte of a value or closing
// bracket, 'k' for a member's name, '0' for any number, 0 at the end.
type token struct {
	kind       byte
	start, end int
	text       string // of a string or a name, decoded; else as it stands
}

// parser reads a pattern's tokens one after the other. The text is valid JSON.
type parser struct {
	src      []byte
	pos      int
	inObject []bool
	wantKey  bool
	tok      token
	read     bool // the current string has been read, for the position of an error
	or       bool
}

// parse gives a pattern's branches.
func parse(text []byte, or bool) ([]branch, error) {
	if err := json.Unmarshal(text, new(json.RawMessage)); err != nil {
		return nil, invalid(err.Error())
	}
	p := &parser{src: text, or: or}
	if p.next().kind != '{' {
		return nil, p.fail("Filter is not an object")
	}
	var branches []branch
	if err := p.object(&branches, nil, false, 0); err != nil {
		return nil, err
	}
	return branches, nil
}

// next moves to the next token. Punctuation between tokens only says whether a
// string is a name.
func (p *parser) next() token {
	p.read = false
	for p.pos < len(p.src) {
		switch c := p.src[p.pos]; c {
		case ' ', '\t', '\r', '\n', ':':
			p.pos++
			continue
		case ',':
			p.wantKey = len(p.inObject) > 0 && p.inObject[len(p.inObject)-1]
			p.pos++
			continue
		case '{', '[':
			p.inObject = append(p.inObject, c == '{')
			p.wantKey = c == '{'
			return p.emit(c, p.pos+1)
		case '}', ']':
			p.inObject = p.inObject[:len(p.inObject)-1]
			p.wantKey = false
			return p.emit(c, p.pos+1)
		case '"':
			end := stringEnd(p.src, p.pos)
			kind := byte('"')
			if p.wantKey {
				kind, p.wantKey = 'k', false
			}
			return p.emit(kind, end)
		default:
			end := scalarEnd(p.src, p.pos)
			if c == '-' || c >= '0' && c <= '9' {
				c = '0'
			}
			return p.emit(c, end)
		}
	}
	return p.emit(0, p.pos)
}

func (p *parser) emit(kind byte, end int) token {
	t := token{kind: kind, start: p.pos, end: end}
	if kind == '"' || kind == 'k' {
		t.text = unquote(p.src[p.pos:end])
	} else {
		t.text = string(p.src[p.pos:end])
	}
	p.pos, p.tok = end, t
	return t
}

// str is the current string's text, which the position of a later error then
// stands behind.
func (p *parser) str() string {
	p.read = true
	return p.tok.text
}

// fail is AWS's error at the current token. The position is the one that AWS's
// parser reports: behind what it has taken from the text so far.
func (p *parser) fail(format string, args ...any) error {
	at := p.tok.end
	switch {
	case p.tok.kind == 'k':
		at = p.ahead(at)
	case p.tok.kind == '"' && !p.read:
		at = p.tok.start + 1
	}
	before := p.src[:at]
	line := 1 + bytes.Count(before, []byte{'\n'})
	column := 1 + len(utf16.Encode([]rune(string(before[bytes.LastIndexByte(before, '\n')+1:]))))
	source := string(p.src)
	if len(source) > 500 {
		source = source[:500] + fmt.Sprintf("\"[truncated %d chars]", len(source)-500)
	} else {
		source += `"`
	}
	return invalid(fmt.Sprintf(format, args...) +
		fmt.Sprintf(" at [Source: (String)\"%s; line: %d, column: %d]", source, line, column))
}

// ahead is the position behind the start of the value that follows a name.
func (p *parser) ahead(at int) int {
	for at < len(p.src) && strings.IndexByte(" \t\r\n:", p.src[at]) >= 0 {
		at++
	}
	if at < len(p.src) && strings.IndexByte(`{["`, p.src[at]) < 0 {
		return scalarEnd(p.src, at)
	}
	return at + 1
}

// reserved are the names that must not stand for fields inside $or (event-ruler,
// RESERVED_FIELD_NAMES_IN_OR_RELATIONSHIP).
var reserved = []string{"exactly", "equals-ignore-case", "prefix", "suffix", "anything-but", "exists", "wildcard",
	"numeric", "cidr", "=", "<", "<=", ">", ">=", "regex", "not-wildcard", "not-equals-ignore-case", "date-after",
	"date-on-or-after", "date-before", "date-on-or-before", "in-date-range", "ip-address-in-range",
	"ip-address-not-in-range"}

func (p *parser) object(branches *[]branch, path []string, inOr bool, depth int) error {
	if depth > maxDepth {
		return p.fail("the pattern is nested too deeply")
	}
	empty := true
	for p.next().kind != '}' {
		empty = false
		name := p.tok.text
		if p.or && name == "$or" {
			if err := p.alternatives(branches, path, depth); err != nil {
				return err
			}
			continue
		}
		if inOr && slices.Contains(reserved, name) {
			return p.fail("%s is Ruler reserved fieldName which cannot be used inside $or.", name)
		}
		inner := append(path[:len(path):len(path)], name)
		var err error
		switch p.next().kind {
		case '{':
			err = p.object(branches, inner, inOr, depth+1)
		case '[':
			err = p.leaf(branches, strings.Join(inner, "."))
		default:
			err = p.fail(`"%s" must be an object or an array`, name)
		}
		if err != nil {
			return err
		}
	}
	if empty {
		return p.fail("Empty objects are not allowed")
	}
	return nil
}

// alternatives multiplies the branches so far by those of the $or list.
func (p *parser) alternatives(branches *[]branch, path []string, depth int) error {
	before := *branches
	if len(before) == 0 {
		before = []branch{nil}
	}
	if p.next().kind != '[' {
		return p.fail("It must be an Array followed with $or.")
	}
	var all []branch
	n := 0
	for ; p.next().kind != ']'; n++ {
		if p.tok.kind != '{' {
			return p.fail("Only JSON object is allowed in array of $or relationship.")
		}
		copies := make([]branch, len(before))
		for i, b := range before {
			copies[i] = slices.Clone(b)
		}
		if err := p.object(&copies, path, true, depth+1); err != nil {
			return err
		}
		if all = append(all, copies...); len(all) > maxBranches {
			return p.fail("the alternatives of $or make more than %d combinations", maxBranches)
		}
	}
	if n < 2 {
		return p.fail("There must have at least 2 Objects in $or relationship.")
	}
	*branches = all
	return nil
}

// leaf reads a list of values into every branch. A path named twice has the last
// list.
func (p *parser) leaf(branches *[]branch, path string) error {
	c := clause{path: path}
	for p.next().kind != ']' {
		m, err := p.value()
		if err != nil {
			return err
		}
		if m == nil {
			c.absent = true
			continue
		}
		c.values = append(c.values, m)
	}
	if len(c.values) == 0 && !c.absent {
		return p.fail("Empty arrays are not allowed")
	}
	if len(*branches) == 0 {
		*branches = []branch{nil}
	}
	for i, b := range *branches {
		if j := slices.IndexFunc(b, func(c clause) bool { return c.path == path }); j >= 0 {
			b[j] = c
		} else {
			(*branches)[i] = append(b, c)
		}
	}
	return nil
}

// value reads one value or operator; nil is {"exists": false}.
func (p *parser) value() (matcher, error) {
	switch p.tok.kind {
	case '{':
		return p.operator()
	case '"':
		return exact(p.tok.text), nil
	case '0':
		n, ok := comparable64(p.tok.text)
		return literalNumber{p.tok.text, n, ok}, nil
	case 't', 'f', 'n':
		return literal(p.tok.text), nil
	}
	return nil, p.fail("Match value must be String, number, true, false, or null")
}

// operator reads a match expression behind its opening bracket, to its end.
func (p *parser) operator() (matcher, error) {
	if p.next().kind != 'k' {
		return nil, p.fail("Match expression name not found")
	}
	op := p.tok.text
	p.next()
	switch op {
	case "exactly":
		return p.textOperator("exact match pattern must be a string", func(s string) matcher { return exactText(s) })
	case "prefix", "suffix":
		if p.tok.kind == '{' {
			return p.foldedAffix(op)
		}
		return p.textOperator(op+" match pattern must be a string",
			func(s string) matcher { return affix{s, op == "suffix", false} })
	case "equals-ignore-case":
		return p.textOperator("equals-ignore-case match pattern must be a string",
			func(s string) matcher { return folded(s) })
	case "wildcard":
		if p.tok.kind != '"' {
			return nil, p.fail("wildcard match pattern must be a string")
		}
		m, err := p.wildcard(p.str())
		if err != nil {
			return nil, err
		}
		return p.closed(m)
	case "cidr":
		// AWS says "prefix" here too.
		if p.tok.kind != '"' {
			return nil, p.fail("prefix match pattern must be a string")
		}
		m, reason := parseCIDR(p.str())
		if reason != "" {
			return nil, invalid(reason) // event-ruler names no position here
		}
		return p.closed(m)
	case "numeric":
		if p.tok.kind != '[' {
			return nil, p.fail("Value of numeric must be an array.")
		}
		m, err := p.numeric()
		if err != nil {
			return nil, err
		}
		if p.next().kind != '}' {
			return nil, p.fail("Too many elements in numeric expression")
		}
		return m, nil
	case "exists":
		return p.exists()
	case "anything-but":
		return p.anythingBut()
	}
	p.tok = token{kind: 'k', end: p.tok.start} // the position is that of the name
	return nil, p.fail("Unrecognized match type %s", op)
}

func (p *parser) textOperator(otherwise string, make func(string) matcher) (matcher, error) {
	if p.tok.kind != '"' {
		return nil, p.fail("%s", otherwise)
	}
	return p.closed(make(p.str()))
}

// closed ends a match expression, which holds one operator.
func (p *parser) closed(m matcher) (matcher, error) {
	if p.next().kind != '}' {
		return nil, p.fail("Only one key allowed in match expression")
	}
	return m, nil
}

func (p *parser) foldedAffix(op string) (matcher, error) {
	if p.next().kind != 'k' {
		return nil, p.fail("%s expression name not found", strings.ToUpper(op[:1])+op[1:])
	}
	if p.tok.text != "equals-ignore-case" {
		return nil, p.fail("Unsupported %s pattern: %s", op, p.tok.text)
	}
	if p.next().kind != '"' {
		return nil, p.fail("equals-ignore-case match pattern must be a string")
	}
	m, err := p.closed(affix{p.str(), op == "suffix", true})
	if err != nil {
		return nil, err
	}
	return p.closed(m)
}

func (p *parser) exists() (matcher, error) {
	kind := p.tok.kind
	if kind != 't' && kind != 'f' {
		return nil, p.fail("exists match pattern must be either true or false.")
	}
	if kind == 'f' {
		return p.closed(nil)
	}
	return p.closed(present{})
}

func (p *parser) wildcard(s string) (matcher, error) {
	w, reason := parseWildcard(s)
	if reason != "" {
		return nil, p.fail("%s", reason)
	}
	return w, nil
}

// numeric reads a numeric expression behind its opening bracket.
func (p *parser) numeric() (matcher, error) {
	if p.next().kind != '"' {
		return nil, p.fail("Invalid member in numeric match: %s", p.tok.text)
	}
	op := p.str()
	r := numberRange{low: math.Inf(-1), high: math.Inf(1)}
	names := map[string]string{"=": "equals", ">=": ">=", ">": ">", "<=": "<=", "<": "<"}
	p.next()
	if names[op] == "" {
		return nil, p.fail("Unrecognized numeric range operator: %s", op)
	}
	bound, err := p.number(names[op])
	if err != nil {
		return nil, err
	}
	if p.next(); (op == ">" || op == ">=") && p.tok.kind != ']' {
		return p.between(bound, op == ">")
	}
	if p.tok.kind != ']' {
		return nil, p.fail("Too many elements in numeric expression")
	}
	n, err := p.compared(bound)
	switch op {
	case "=":
		r.low, r.high = n, n
	case "<=", "<":
		r.high, r.openHigh = n, op == "<"
	case ">=", ">":
		r.low, r.openLow = n, op == ">"
	}
	return r, err
}

// between reads the second half of a range at its operator.
func (p *parser) between(bottom string, open bool) (matcher, error) {
	if p.tok.kind != '"' {
		return nil, p.fail("Bad value in numeric range: %s", p.tok.text)
	}
	op := p.str()
	if op != "<" && op != "<=" {
		return nil, p.fail("Bad numeric range operator: %s", op)
	}
	p.next()
	top, err := p.number(op)
	if err != nil {
		return nil, err
	}
	if p.next().kind != ']' {
		return nil, p.fail("Too many terms in numeric range expression")
	}
	r := numberRange{openLow: open, openHigh: op == "<"}
	if r.low, err = p.compared(bottom); err != nil {
		return nil, err
	}
	if r.high, err = p.compared(top); err != nil {
		return nil, err
	}
	if r.low >= r.high {
		return nil, p.fail("Bottom must be less than top")
	}
	return r, nil
}

// number is the current token, if it is a number; op names the operator in the
// error.
func (p *parser) number(op string) (string, error) {
	if p.tok.kind != '0' {
		return "", p.fail("Value of %s must be numeric", op)
	}
	return p.tok.text, nil
}

// compared is a number's value, if it is one that can be compared.
func (p *parser) compared(text string) (float64, error) {
	n, ok := comparable64(text)
	if !ok {
		return 0, p.fail("Cannot compare number : %s", text)
	}
	return n, nil
}

func (p *parser) anythingBut() (matcher, error) {
	op := ""
	if p.tok.kind == '{' {
		if p.next().kind != 'k' {
			return nil, p.fail("Anything-But expression name not found")
		}
		switch op = p.tok.text; op {
		case "equals-ignore-case", "prefix", "suffix", "wildcard":
		default:
			return nil, p.fail("Unsupported anything-but pattern: %s", op)
		}
		p.next()
	}
	var but anythingBut
	var err error
	switch p.tok.kind {
	case '[':
		but, err = p.butList(op)
	case '"', '0':
		var m matcher
		if m, err = p.butValue(op); err == nil {
			but = anythingBut{m}
		}
	default:
		err = p.fail("Value of anything-but must be an array or single string/number value.")
	}
	if err != nil {
		return nil, err
	}
	if p.next().kind != '}' || op != "" && p.next().kind != '}' {
		return nil, p.fail("Too many elements in numeric expression") // AWS's words here too
	}
	return but, nil
}

func (p *parser) butList(op string) (anythingBut, error) {
	var but anythingBut
	strs, numbers := 0, 0
	for p.next().kind != ']' {
		if p.tok.kind == '"' {
			strs++
		} else if p.tok.kind == '0' {
			numbers++
		}
		m, err := p.butValue(op)
		if err != nil {
			return nil, err
		}
		but = append(but, m)
	}
	if op == "" && (strs > 0) == (numbers > 0) {
		return nil, p.fail("Inside anything but list, either all values are number or string, mixed type is not supported")
	}
	if len(but) == 0 {
		return nil, p.fail("Empty arrays are not allowed")
	}
	return but, nil
}

// butValue reads one value that anything-but excludes.
func (p *parser) butValue(op string) (matcher, error) {
	if op == "" && p.tok.kind == '0' {
		n, err := p.compared(p.tok.text)
		return numberRange{low: n, high: n}, err
	}
	if p.tok.kind != '"' {
		switch op {
		case "":
			return nil, p.fail("Inside anything but list, start|null|boolean is not supported.")
		case "equals-ignore-case":
			return nil, p.fail("Inside anything-but/equals-ignore-case list, number|start|null|boolean is not supported.")
		case "wildcard":
			return nil, p.fail("wildcard match pattern must be a string")
		}
		return nil, p.fail("prefix/suffix match pattern must be a string")
	}
	s := p.str()
	switch op {
	case "":
		return exactText(s), nil
	case "equals-ignore-case":
		return folded(s), nil
	case "wildcard":
		return p.wildcard(s)
	}
	if s == "" {
		return nil, p.fail("Null prefix/suffix not allowed")
	}
	return affix{s, op == "suffix", false}, nil
}

// parseCIDR reads an address block; the reason says why it is none. A whole
// address (/32, /128) is no block for EventBridge.
func parseCIDR(s string) (matcher, string) {
	address, bits, ok := strings.Cut(s, "/")
	if !ok || strings.Contains(bits, "/") || address == "" || bits == "" {
		return nil, "Malformed CIDR, one '/' required"
	}
	n, err := strconv.Atoi(bits)
	if err != nil {
		return nil, "Malformed CIDR, mask bits must be an integer"
	}
	if n < 0 {
		return nil, "Malformed CIDR, mask bits must not be negative"
	}
	a, ok := parseIP(address)
	if !ok {
		if strings.Count(address, ".") == 3 || strings.Contains(address, ":") {
			return nil, "Invalid IP address: " + address
		}
		return nil, "Nonstandard IP address: " + address
	}
	if a.Is4() && n > 31 {
		return nil, "IPv4 mask bits must be < 32"
	}
	if n > 127 {
		return nil, "IPv6 mask bits must be < 128"
	}
	return block(netip.PrefixFrom(a, n).Masked()), ""
}
