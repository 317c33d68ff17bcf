package eventpattern

import (
	"bytes"
	"encoding/json"
	"slices"
	"strconv"
	"strings"
)

// maxSteps bounds the search for leaves that agree. An event past it counts as
// matched: it is better told once too often than lost.
const maxSteps = 100_000

// member is an object or array in an array, in the element of another or none.
// Scalars belong to their array's other elements as well.
type member struct {
	array, index int
	up           *member
}

// Match says whether the event, a JSON object, matches. What is no JSON object
// matches nothing.
func (p *Pattern) Match(event []byte) bool {
	w := walker{src: event, leaves: make([][]leaf, p.fields)}
	if w.peek() != '{' || !w.object(p.root, nil, 0) {
		return false
	}
	for _, b := range p.branches {
		if w.matches(b) {
			return true
		}
	}
	return false
}

// walker collects an event's leaves at the pattern's paths.
type walker struct {
	src    []byte
	pos    int
	arrays int
	leaves [][]leaf // by field
}

// matches says whether a leaf can be chosen for each clause that matches it, no
// two of which stand in different elements of one array: the members of an
// object in an array belong together (event-ruler, "JSON Array Matching").
func (w *walker) matches(b branch) bool {
	var open []candidates
	for i := range b {
		c, free := w.candidates(&b[i])
		switch {
		case free:
		case len(c.in) == 0 && len(c.absent) == 0:
			return false
		default:
			open = append(open, c)
		}
	}
	if len(open) == 0 || len(open) == 1 && len(open[0].in) > 0 {
		return true
	}
	s := search{open: open, chosen: map[int]int{}, failed: map[string]bool{}}
	return s.from(0)
}

// candidates is what can satisfy a clause: one of the elements of arrays in
// which its matching leaves stand, or that all its leaves stand in elements
// other than those chosen for the clauses before, so that it is absent there.
type candidates struct {
	in, absent []*member
}

// candidates looks at a clause alone; free is true when a leaf outside all
// arrays matches, or none is there and need not be.
func (w *walker) candidates(c *clause) (out candidates, free bool) {
	leaves := w.leaves[c.field]
	if len(leaves) == 0 {
		return out, c.absent
	}
	everywhere := false
	for i := range leaves {
		l := &leaves[i]
		everywhere = everywhere || l.in == nil
		if len(out.absent) == 0 || out.absent[len(out.absent)-1] != l.in {
			out.absent = append(out.absent, l.in)
		}
		if len(out.in) > 0 && out.in[len(out.in)-1] == l.in || !anyMatches(c.values, l) {
			continue
		}
		if l.in == nil {
			return out, true
		}
		out.in = append(out.in, l.in)
	}
	if !c.absent || everywhere {
		out.absent = nil
	}
	return out, false
}

// search chooses one element for each of open, in their order, so that all
// agree. The order is event-ruler's, and matters for what is absent only.
type search struct {
	open   []candidates
	chosen map[int]int     // array → element
	failed map[string]bool // what is known not to lead on
	steps  int
}

func (s *search) from(i int) bool {
	if s.steps++; i == len(s.open) || s.steps > maxSteps {
		return true
	}
	state := s.state(i)
	if s.failed[state] {
		return false
	}
	if s.absent(s.open[i].absent) && s.from(i+1) {
		return true
	}
	for _, m := range s.open[i].in {
		added, ok := s.choose(m)
		if ok && s.from(i+1) {
			return true
		}
		for _, array := range added {
			delete(s.chosen, array)
		}
	}
	s.failed[state] = true
	return false
}

// absent says whether none of the elements can be had beside those chosen.
func (s *search) absent(in []*member) bool {
	for _, m := range in {
		added, ok := s.choose(m)
		for _, array := range added {
			delete(s.chosen, array)
		}
		if ok {
			return false
		}
	}
	return len(in) > 0
}

// choose takes an element and those it lies in; added are the arrays that had
// none before.
func (s *search) choose(m *member) (added []int, ok bool) {
	for ; m != nil; m = m.up {
		if index, taken := s.chosen[m.array]; taken {
			if index != m.index {
				return added, false
			}
			continue
		}
		s.chosen[m.array] = m.index
		added = append(added, m.array)
	}
	return added, true
}

// state is what of the choices so far can matter from clause i on.
func (s *search) state(i int) string {
	var arrays []int
	for _, c := range s.open[i:] {
		for _, m := range slices.Concat(c.in, c.absent) {
			for ; m != nil; m = m.up {
				if _, taken := s.chosen[m.array]; taken && !slices.Contains(arrays, m.array) {
					arrays = append(arrays, m.array)
				}
			}
		}
	}
	slices.Sort(arrays)
	key := strconv.AppendInt(nil, int64(i), 10)
	for _, a := range arrays {
		key = strconv.AppendInt(append(key, ' '), int64(a), 10)
		key = strconv.AppendInt(append(key, '='), int64(s.chosen[a]), 10)
	}
	return string(key)
}

// peek is the next byte that is no space, or 0.
func (w *walker) peek() byte {
	for w.pos < len(w.src) {
		switch c := w.src[w.pos]; c {
		case ' ', '\t', '\r', '\n':
			w.pos++
		default:
			return c
		}
	}
	return 0
}

// take steps over the byte c, if it is the next.
func (w *walker) take(c byte) bool {
	if w.peek() != c {
		return false
	}
	w.pos++
	return true
}

// object walks an object along n. It is false for what is no JSON.
func (w *walker) object(n *node, in *member, depth int) bool {
	if w.pos++; w.take('}') {
		return true
	}
	for {
		if w.peek() != '"' {
			return false
		}
		end := stringEnd(w.src, w.pos)
		if end < 0 {
			return false
		}
		child := n.child(w.src[w.pos:end])
		if w.pos = end; !w.take(':') || !w.value(child, in, depth+1) {
			return false
		}
		if w.take('}') {
			return true
		}
		if !w.take(',') {
			return false
		}
	}
}

// child follows a quoted name, each of its dots being a step.
func (n *node) child(quoted []byte) *node {
	name := quoted[1 : len(quoted)-1]
	if bytes.IndexByte(name, '\\') >= 0 {
		name = []byte(unquote(quoted))
	}
	for {
		i := bytes.IndexByte(name, '.')
		if i < 0 {
			return n.next[string(name)]
		}
		if n = n.next[string(name[:i])]; n == nil {
			return nil
		}
		name = name[i+1:]
	}
}

func (w *walker) value(n *node, in *member, depth int) bool {
	if depth > maxDepth {
		return false
	}
	c := w.peek()
	switch {
	case c == 0:
		return false
	case n == nil:
		return w.skip()
	case c == '[':
		return w.array(n, in, depth)
	case c == '{' && n.next != nil:
		return w.object(n, in, depth)
	case c == '{' || n.field < 0:
		return w.skip()
	}
	start := w.pos
	if !w.skip() {
		return false
	}
	l := leaf{in: in}
	switch raw := w.src[start:w.pos]; {
	case c == '"':
		l.text = unquote(raw)
	case c == '-' || c >= '0' && c <= '9':
		l.kind, l.text = kindNumber, string(raw)
	default:
		l.kind, l.text = kindLiteral, string(raw)
	}
	w.leaves[n.field] = append(w.leaves[n.field], l)
	return true
}

// array walks an array's elements as if each stood in the array's place.
func (w *walker) array(n *node, in *member, depth int) bool {
	id := w.arrays
	w.arrays++
	if w.pos++; w.take(']') {
		return true
	}
	for i := 0; ; i++ {
		element := in
		if c := w.peek(); c == '{' || c == '[' {
			element = &member{id, i, in}
		}
		if !w.value(n, element, depth+1) {
			return false
		}
		if w.take(']') {
			return true
		}
		if !w.take(',') {
			return false
		}
	}
}

// skip steps over a value unread.
func (w *walker) skip() bool {
	for depth := 0; ; {
		switch c := w.peek(); c {
		case 0:
			return false
		case '"':
			end := stringEnd(w.src, w.pos)
			if end < 0 {
				return false
			}
			w.pos = end
		case '{', '[':
			w.pos++
			depth++
		case '}', ']':
			w.pos++
			depth--
		case ',', ':':
			if depth == 0 {
				return false
			}
			w.pos++
		default:
			w.pos = scalarEnd(w.src, w.pos)
		}
		if depth <= 0 {
			return depth == 0
		}
	}
}

// stringEnd is the position behind the string that starts at i, or -1.
func stringEnd(src []byte, i int) int {
	for i++; i < len(src); {
		j := bytes.IndexByte(src[i:], '"')
		if j < 0 {
			return -1
		}
		k := i + j
		slashes := 0
		for k-1-slashes >= i && src[k-1-slashes] == '\\' {
			slashes++
		}
		if slashes%2 == 0 {
			return k + 1
		}
		// The quote is escaped. Looking back from the next one must not stop here.
		i = k + 1
	}
	return -1
}

// scalarEnd is the position behind the number or literal that starts at i.
func scalarEnd(src []byte, i int) int {
	for i < len(src) && strings.IndexByte(",:{}[]\" \t\r\n", src[i]) < 0 {
		i++
	}
	return i
}

// unquote is a quoted string's text.
func unquote(quoted []byte) string {
	if bytes.IndexByte(quoted, '\\') < 0 {
		return string(quoted[1 : len(quoted)-1])
	}
	var s string
	if err := json.Unmarshal(quoted, &s); err != nil {
		return string(quoted[1 : len(quoted)-1])
	}
	return s
}
