package lake

import (
	"bytes"
	"encoding/binary"
	"encoding/json"
	"io"
	"strings"
	"time"
	"unicode/utf8"

	"spoor/internal/athena/sql"
	"spoor/internal/parquet"
)

// groupBytes is where a row group of large events ends early.
const groupBytes = 64 << 20

// cutter writes events into a file's columns. It cuts an event into its members
// once, without making values of them: the members of an event are mostly those
// of the event before, and then a comparison is all that they cost.
//
// It takes the events that it reads exactly as serde.Event does and refuses
// others, of which not a byte is written then.
type cutter struct {
	w       *parquet.Writer
	whole   *parquet.Leaf
	columns []cutColumn
	byName  map[string]int
	follows []int // the column after each column in the last event; that after the last is the first
	serial  uint64
	rows    int // of the row group
	jsonScanner
}

// cutColumn is a column at its last row.
type cutColumn struct {
	node   *parquet.Node
	key    []byte // as it stands in events: "eventName":
	seen   uint64 // the last event that has it
	last   cutValue
	next   cutValue
	isNew  bool
	repeat int // rows with the last value that are not in the leaves yet
}

// cutValue is a column's value in one event.
type cutValue struct {
	json  []byte // empty: it has none
	own   []byte // values that are no part of json
	parts []cutPart
}

// cutPart is a value of a leaf, or a NULL.
type cutPart struct {
	leaf     int
	rep, def uint8
	null     bool
	own      bool
	from, to int
}

func newCutter(w io.Writer, s *Store) *cutter {
	cols := columnsOf(s)
	var nodes []*parquet.Node
	for _, c := range cols {
		nodes = append(nodes, nodeOf(c.Name, c.Type))
	}
	c := &cutter{w: parquet.NewWriter(w, nodes), byName: map[string]int{}}
	for i, n := range nodes {
		if n.Name == wholeEvent {
			c.whole = c.w.Leaves[n.First]
			continue
		}
		c.byName[n.Name] = i
		c.columns = append(c.columns, cutColumn{node: n})
	}
	c.follows = make([]int, len(c.columns)+1)
	for i := range c.columns {
		c.null(&c.columns[i].last, c.columns[i].node, 0)
	}
	return c
}

func nodeOf(name string, t sql.Type) *parquet.Node {
	n := &parquet.Node{Name: name}
	switch t.Name {
	case "row":
		n.Kind = parquet.Struct
	case "array":
		n.Kind = parquet.List
	case "map":
		n.Kind = parquet.Map
	case "boolean":
		n.Kind = parquet.Bool
	case "timestamp":
		n.Kind = parquet.Timestamp
	}
	for i, e := range t.Elems {
		field := ""
		if i < len(t.Fields) {
			field = t.Fields[i]
		}
		n.Children = append(n.Children, nodeOf(field, e))
	}
	return n
}

// add writes an event, or refuses it.
func (c *cutter) add(event []byte) (bool, error) {
	c.serial++
	if !c.members(event) {
		return false, nil
	}
	for i := range c.columns {
		col := &c.columns[i]
		there := col.seen == c.serial
		if there && col.isNew || !there && len(col.last.json) > 0 {
			c.flush(col)
			if !there {
				col.next.clear()
				c.null(&col.next, col.node, 0)
			}
			json := append(col.last.json[:0], col.next.json...) // next's is a part of the event
			col.last, col.next = col.next, col.last
			col.last.json = json
		}
		col.repeat++
	}
	c.whole.Add(0, event, 1)
	c.rows++
	if c.rows < parquet.GroupRows && c.w.Held() < groupBytes {
		return true, nil
	}
	return true, c.group()
}

func (v *cutValue) clear() { v.json, v.own, v.parts = nil, v.own[:0], v.parts[:0] }

// flush puts the rows that have the last value into the leaves.
func (c *cutter) flush(col *cutColumn) {
	n, times := col.repeat, 1
	col.repeat = 0
	if n == 0 {
		return
	}
	v := &col.last
	if len(v.parts) > col.node.Last-col.node.First {
		n, times = 1, n // a row has more than a value of some leaf
	}
	for range times {
		for i := range v.parts {
			p := &v.parts[i]
			l := c.w.Leaves[p.leaf]
			switch {
			case p.null:
				l.Null(p.rep, p.def, n)
			case p.own:
				l.Add(p.rep, v.own[p.from:p.to], n)
			default:
				l.Add(p.rep, v.json[p.from:p.to], n)
			}
		}
	}
}

func (c *cutter) group() error {
	for i := range c.columns {
		c.flush(&c.columns[i])
	}
	rows := c.rows
	c.rows = 0
	return c.w.Group(rows)
}

func (c *cutter) close() error {
	if err := c.group(); err != nil {
		return err
	}
	return c.w.Close()
}

// members finds the columns' members of an event and makes the values of those
// that are new. It reports whether it can.
func (c *cutter) members(event []byte) bool {
	c.data, c.escapes = event, true
	if len(event) < 2 || event[0] != '{' {
		return false
	}
	if event[1] == '}' {
		return len(event) == 2
	}
	before := len(c.columns)
	for at := 1; ; {
		i, from := c.member(event, at, before)
		if from < 0 {
			return false
		}
		if i < 0 {
			if at = c.pass(from, 0); at >= 0 && !clean(event[from:at]) {
				return false
			}
		} else {
			at = c.column(&c.columns[i], event, from)
			before = i
		}
		if at < 0 || at >= len(event) {
			return false
		}
		switch event[at] {
		case ',':
			at++
		case '}':
			return at == len(event)-1
		default:
			return false
		}
	}
}

// member is the column of the member at a place, or -1, and where its value is;
// before is the column before it.
func (c *cutter) member(event []byte, at, before int) (column, value int) {
	guess := c.follows[before]
	if key := c.columns[guess].key; len(key) > 0 && bytes.HasPrefix(event[at:], key) {
		return guess, at + len(key)
	}
	end := c.passString(at)
	if end < 0 || end >= len(event) || event[end] != ':' {
		return 0, -1
	}
	key := event[at+1 : end-1]
	if bytes.IndexByte(key, '\\') >= 0 || len(key) > 64 || !clean(key) {
		return 0, -1
	}
	i, ok := c.byName[strings.ToLower(string(key))]
	if !ok {
		// Only ASCII is folded: the longer name of the same letters is another's.
		return -1, end + 1
	}
	if len(c.columns[i].node.Name) != len(key) {
		return 0, -1
	}
	c.columns[i].key = append(c.columns[i].key[:0], event[at:end+1]...)
	c.follows[before] = i
	return i, end + 1
}

// column takes the value at a place as a column's and gives its end, or -1.
func (c *cutter) column(col *cutColumn, event []byte, from int) int {
	if col.seen == c.serial {
		return -1 // twice
	}
	col.seen, col.isNew = c.serial, false
	if last := col.last.json; len(last) > 0 && bytes.HasPrefix(event[from:], last) {
		if end := from + len(last); end < len(event) && (event[end] == ',' || event[end] == '}') {
			return end
		}
	}
	end := c.pass(from, 0)
	if end < 0 || !clean(event[from:end]) {
		return -1
	}
	col.isNew = true
	v := &col.next
	v.clear()
	v.json = event[from:end]
	m := maker{v: v, s: jsonScanner{data: v.json, escapes: bytes.IndexByte(v.json, '\\') >= 0}}
	if !m.value(col.node, 0, len(v.json), 0) {
		return -1
	}
	return end
}

// null adds that a node is NULL.
func (c *cutter) null(v *cutValue, n *parquet.Node, rep uint8) { v.null(n, rep, n.Def-1) }

func (v *cutValue) null(n *parquet.Node, rep, def uint8) {
	for l := n.First; l < n.Last; l++ {
		v.parts = append(v.parts, cutPart{leaf: l, rep: rep, def: def, null: true})
	}
}

// maker makes the parts of a value, whose JSON has been passed.
type maker struct {
	v    *cutValue
	s    jsonScanner
	when []byte
}

// value makes a node's parts of the JSON in [from, to). It reports whether they
// are what serde.Event makes.
func (m *maker) value(n *parquet.Node, from, to int, rep uint8) bool {
	js := m.s.data[from:to]
	if string(js) == "null" {
		m.v.null(n, rep, n.Def-1)
		return true
	}
	switch n.Kind {
	case parquet.Text:
		m.text(n.First, from, to, rep)
		return true
	case parquet.Bool:
		if js[0] != 't' && js[0] != 'f' {
			return false
		}
		b := byte(0)
		if js[0] == 't' {
			b = 1
		}
		m.put(n.First, rep, b)
		return true
	case parquet.Timestamp:
		return m.time(n.First, js, rep)
	case parquet.List:
		return js[0] == '[' && m.list(n, from, to, rep)
	case parquet.Map:
		return js[0] == '{' && m.table(n, from, rep)
	}
	return js[0] == '{' && m.row(n, from, rep)
}

// put adds a value that is no part of the JSON.
func (m *maker) put(leaf int, rep uint8, b ...byte) {
	from := len(m.v.own)
	m.v.own = append(m.v.own, b...)
	m.v.parts = append(m.v.parts, cutPart{leaf: leaf, rep: rep, own: true, from: from, to: len(m.v.own)})
}

// text adds a string's text; other values are their JSON.
func (m *maker) text(leaf, from, to int, rep uint8) {
	if m.s.data[from] == '"' {
		from, to = from+1, to-1
		if m.s.escapes && bytes.IndexByte(m.s.data[from:to], '\\') >= 0 {
			at := len(m.v.own)
			m.v.own = appendUnescaped(m.v.own, m.s.data[from-1:to+1])
			m.v.parts = append(m.v.parts, cutPart{leaf: leaf, rep: rep, own: true, from: at, to: len(m.v.own)})
			return
		}
	}
	m.v.parts = append(m.v.parts, cutPart{leaf: leaf, rep: rep, from: from, to: to})
}

// time adds a time as events have it.
func (m *maker) time(leaf int, js []byte, rep uint8) bool {
	const layout = `"2006-01-02T15:04:05Z"`
	if len(js) != len(layout) {
		return false
	}
	t, err := time.Parse(layout, string(js))
	if err != nil {
		return false
	}
	m.when = binary.LittleEndian.AppendUint64(m.when[:0], uint64(t.UnixMicro()))
	m.put(leaf, rep, m.when...)
	return true
}

// maxFields is more than any row of the columns has.
const maxFields = 16

func (m *maker) row(n *parquet.Node, from int, rep uint8) bool {
	var found [maxFields]struct{ from, to int }
	ok := m.s.object(from, func(key []byte, from, to int) bool {
		for i, c := range n.Children {
			if len(c.Name) == len(key) && strings.EqualFold(c.Name, string(key)) {
				if found[i].to > 0 {
					return false
				}
				found[i].from, found[i].to = from, to
				break
			}
		}
		return true
	})
	for i, c := range n.Children {
		if !ok {
			return false
		}
		if found[i].to == 0 {
			m.v.null(c, rep, c.Def-1)
			continue
		}
		ok = m.value(c, found[i].from, found[i].to, rep)
	}
	return ok
}

func (m *maker) list(n *parquet.Node, from, to int, rep uint8) bool {
	if to-from == 2 {
		m.v.null(n, rep, n.Def)
		return true
	}
	return m.s.array(from, func(from, to int) bool {
		ok := m.value(n.Children[0], from, to, rep)
		rep = n.Rep
		return ok
	})
}

// maxKeys bounds a map, whose keys are compared with one another.
const maxKeys = 64

func (m *maker) table(n *parquet.Node, from int, rep uint8) bool {
	var keys [maxKeys][]byte
	count := 0
	ok := m.s.object(from, func(key []byte, from, to int) bool {
		if count == maxKeys || bytes.IndexByte(key, '\\') >= 0 {
			return false
		}
		for _, k := range keys[:count] {
			if bytes.Equal(k, key) {
				return false
			}
		}
		keys[count] = key
		count++
		end := from - 2 // of the key: what follows are its quote and the colon
		m.v.parts = append(m.v.parts, cutPart{leaf: n.Children[0].First, rep: rep, from: end - len(key), to: end})
		ok := m.value(n.Children[1], from, to, rep)
		rep = n.Rep
		return ok
	})
	if ok && count == 0 {
		m.v.null(n, rep, n.Def)
	}
	return ok
}

// appendUnescaped appends the text of a JSON string with its quotes.
func appendUnescaped(b, quoted []byte) []byte {
	at := len(b)
	for s := quoted[1 : len(quoted)-1]; ; {
		i := bytes.IndexByte(s, '\\')
		if i < 0 {
			return append(b, s...)
		}
		b = append(b, s[:i]...)
		c := s[i+1]
		switch c {
		case 'n':
			c = '\n'
		case 't':
			c = '\t'
		case 'r':
			c = '\r'
		case 'b':
			c = '\b'
		case 'f':
			c = '\f'
		case 'u':
			var text string
			if err := json.Unmarshal(quoted, &text); err != nil {
				panic("lake: a string that was passed: " + err.Error())
			}
			return append(b[:at], text...)
		}
		b = append(b, c)
		s = s[i+2:]
	}
}

// clean reports whether a text is UTF-8 without control characters.
func clean(b []byte) bool {
	const ones, highs = 0x0101010101010101, 0x8080808080808080
	var control, high uint64
	all := b
	for ; len(b) >= 8; b = b[8:] {
		w := binary.LittleEndian.Uint64(b)
		high |= w
		control |= (w - 0x20*ones) & ^w
	}
	for _, c := range b {
		high |= uint64(c)
		if c < 0x20 {
			return false
		}
	}
	return control&highs == 0 && (high&highs == 0 || utf8.Valid(all))
}

// jsonScanner finds the ends of JSON values that have no white space around
// their tokens, as events have none. What it passes is valid JSON if it is
// clean.
type jsonScanner struct {
	data    []byte
	escapes bool // there may be a backslash somewhere
}

// maxDepth bounds nesting.
const maxDepth = 64

// pass gives the end of the value at a place, or -1.
func (s *jsonScanner) pass(at, depth int) int {
	if at >= len(s.data) || depth > maxDepth {
		return -1
	}
	switch s.data[at] {
	case '"':
		return s.passString(at)
	case '{':
		return s.passList(at, depth, '}')
	case '[':
		return s.passList(at, depth, ']')
	case 't':
		return s.word(at, "true")
	case 'f':
		return s.word(at, "false")
	case 'n':
		return s.word(at, "null")
	}
	return s.number(at)
}

// passList passes an object or an array.
func (s *jsonScanner) passList(at, depth int, end byte) int {
	at++
	if at < len(s.data) && s.data[at] == end {
		return at + 1
	}
	for {
		if end == '}' {
			at = s.passString(at)
			if at < 0 || at >= len(s.data) || s.data[at] != ':' {
				return -1
			}
			at++
		}
		at = s.pass(at, depth+1)
		if at < 0 || at >= len(s.data) {
			return -1
		}
		switch s.data[at] {
		case ',':
			at++
		case end:
			return at + 1
		default:
			return -1
		}
	}
}

func (s *jsonScanner) word(at int, w string) int {
	if len(s.data)-at < len(w) || string(s.data[at:at+len(w)]) != w {
		return -1
	}
	return at + len(w)
}

func (s *jsonScanner) passString(at int) int {
	if at >= len(s.data) || s.data[at] != '"' {
		return -1
	}
	at++
	n := bytes.IndexByte(s.data[at:], '"')
	if n < 0 {
		return -1
	}
	if !s.escapes {
		return at + n + 1
	}
	i := bytes.IndexByte(s.data[at:at+n], '\\')
	if i < 0 {
		return at + n + 1
	}
	for at += i; at < len(s.data); at++ {
		switch s.data[at] {
		case '"':
			return at + 1
		case '\\':
			if at++; at >= len(s.data) {
				return -1
			}
			if s.data[at] == 'u' {
				for k := 1; k <= 4; k++ {
					if at+k >= len(s.data) || !isHex(s.data[at+k]) {
						return -1
					}
				}
				at += 4
			} else if bytes.IndexByte([]byte(`"\/bfnrt`), s.data[at]) < 0 {
				return -1
			}
		}
	}
	return -1
}

func isHex(c byte) bool   { return isDigit(c) || c|0x20 >= 'a' && c|0x20 <= 'f' }
func isDigit(c byte) bool { return c >= '0' && c <= '9' }

func (s *jsonScanner) digits(at int) int {
	from := at
	for at < len(s.data) && isDigit(s.data[at]) {
		at++
	}
	if at == from {
		return -1
	}
	return at
}

func (s *jsonScanner) number(at int) int {
	is := func(set string) bool {
		if at >= 0 && at < len(s.data) && strings.IndexByte(set, s.data[at]) >= 0 {
			at++
			return true
		}
		return false
	}
	is("-")
	if !is("0") {
		at = s.digits(at)
	}
	if is(".") {
		at = s.digits(at)
	}
	if is("eE") {
		is("+-")
		at = s.digits(at)
	}
	return at
}

// object calls fn with the members of an object that has been passed.
func (s *jsonScanner) object(at int, fn func(key []byte, from, to int) bool) bool {
	at++
	for s.data[at] != '}' {
		if s.data[at] == ',' {
			at++
		}
		from := s.passString(at)
		to := s.pass(from+1, 0)
		if to < 0 || !fn(s.data[at+1:from-1], from+1, to) {
			return false
		}
		at = to
	}
	return true
}

// array calls fn with the elements of an array that has been passed.
func (s *jsonScanner) array(at int, fn func(from, to int) bool) bool {
	at++
	for s.data[at] != ']' {
		if s.data[at] == ',' {
			at++
		}
		to := s.pass(at, 0)
		if to < 0 || !fn(at, to) {
			return false
		}
		at = to
	}
	return true
}
