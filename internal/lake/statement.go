package lake

import (
	"errors"
	"fmt"
	"slices"
	"strings"
	"time"

	"spoor/internal/athena/sql"
)

// ErrStatement is wrapped by the errors of a statement that cannot be run.
var ErrStatement = errors.New("lake: the statement cannot be run")

// plan is a statement ready to run.
type plan struct {
	*sql.Rewritten
	stores map[string]*Store // by relation
}

// Plan checks a statement of Lake's dialect: one SELECT over event data
// stores, which find gives by their ids. Errors of find come back as they are,
// others wrap ErrStatement.
func Plan(statement string, params []string, find func(id string) (*Store, error)) error {
	_, err := makePlan(statement, params, find)
	return err
}

var errNotSelect = fmt.Errorf("%w: only SELECT statements are supported", ErrStatement)

// changes reports that a statement begins as one that makes or changes tables.
func changes(statement string) bool {
	words := strings.Fields(statement)
	return len(words) > 0 && slices.Contains([]string{"ALTER", "CREATE", "DELETE", "DROP", "INSERT", "MERGE", "MSCK", "UPDATE"},
		strings.ToUpper(words[0]))
}

func makePlan(statement string, params []string, find func(id string) (*Store, error)) (*plan, error) {
	statement, params = bindParameters(statement, params)
	stmt, err := sql.Parse(quoteStores(statement))
	if err != nil && changes(statement) {
		return nil, errNotSelect // not Athena's advice on how to write it
	}
	if err != nil {
		return nil, fmt.Errorf("%w: %w", ErrStatement, err)
	}
	q, ok := stmt.Node.(*sql.Query)
	if !ok {
		return nil, errNotSelect
	}
	if stmt.Params != len(params) {
		return nil, fmt.Errorf("%w: the statement has %d parameters and %d are given", ErrStatement, stmt.Params, len(params))
	}
	r := &resolver{find: find, plan: &plan{stores: map[string]*Store{}}}
	r.plan.Rewritten, err = sql.RewriteLake(q, r, params)
	if r.failed != nil {
		return nil, r.failed
	}
	var fault *sql.SemanticError
	if errors.As(err, &fault) && fault.Name == "TABLE_NOT_FOUND" && strings.HasPrefix(fault.Message, "Table ") {
		return nil, fmt.Errorf("%w: %w; FROM takes the id of an event data store, the last part of its ARN", ErrStatement, err)
	}
	if err != nil {
		return nil, fmt.Errorf("%w: %w", ErrStatement, err)
	}
	if len(r.plan.stores) == 0 {
		return nil, fmt.Errorf("%w: the statement reads no event data store", ErrStatement)
	}
	return r.plan, nil
}

// resolver finds stores by their ids. Each mention is a relation of its own,
// so that what one mention leaves out is not left out of another.
type resolver struct {
	find   func(id string) (*Store, error)
	plan   *plan
	failed error
}

func (r *resolver) Table(_, database, name string) (*sql.Table, error) {
	if database != "default" || !isUUID(name) {
		return nil, sql.ErrNoTable
	}
	s, err := r.find(name)
	if err != nil {
		r.failed = err
		return nil, err
	}
	relation := fmt.Sprintf("store %d", len(r.plan.stores))
	r.plan.stores[relation] = s
	return &sql.Table{Relation: relation, Columns: columnsOf(s)}, nil
}

const uuidLen = 36

func isUUID(s string) bool {
	if len(s) != uuidLen {
		return false
	}
	for i := range len(s) {
		switch c := s[i]; {
		case i == 8 || i == 13 || i == 18 || i == 23:
			if c != '-' {
				return false
			}
		case !(c >= '0' && c <= '9' || c >= 'a' && c <= 'f'):
			return false
		}
	}
	return true
}

// quoteStores puts quotes around the ids of stores: Lake's grammar takes them
// bare, where SQL would see a subtraction. Texts, quoted names and comments
// stay as they are.
func quoteStores(statement string) string {
	var b strings.Builder
	word := func(c byte) bool {
		return c == '_' || c == '-' || c >= '0' && c <= '9' || c >= 'a' && c <= 'z' || c >= 'A' && c <= 'Z'
	}
	for i := 0; i < len(statement); {
		end := i + 1
		switch c := statement[i]; {
		case c == '\'' || c == '"':
			end = until(statement, i+1, string(c))
		case strings.HasPrefix(statement[i:], "--"):
			end = until(statement, i, "\n")
		case strings.HasPrefix(statement[i:], "/*"):
			end = until(statement, i+2, "*/")
		case word(c):
			for end < len(statement) && word(statement[end]) && !strings.HasPrefix(statement[end:], "--") {
				end++
			}
			if isUUID(statement[i:end]) {
				b.WriteString(`"` + statement[i:end] + `"`)
				i = end
				continue
			}
		}
		b.WriteString(statement[i:end])
		i = end
	}
	return b.String()
}

// bindParameters gives Lake's two forms of a parameter's place one: a bare ?
// and '?', which stands for the value as a text (CloudTrail API reference,
// "RequestWidget").
func bindParameters(statement string, params []string) (string, []string) {
	if len(params) == 0 {
		return statement, nil
	}
	var b strings.Builder
	bound := append([]string(nil), params...)
	n := 0
	for i := 0; i < len(statement); {
		end := i + 1
		switch c := statement[i]; {
		case strings.HasPrefix(statement[i:], "'?'"):
			if n < len(bound) {
				bound[n] = "'" + strings.ReplaceAll(bound[n], "'", "''") + "'"
			}
			n++
			b.WriteByte('?')
			i += len("'?'")
			continue
		case c == '?':
			n++
		case c == '\'' || c == '"':
			end = until(statement, i+1, string(c))
		case strings.HasPrefix(statement[i:], "--"):
			end = until(statement, i, "\n")
		case strings.HasPrefix(statement[i:], "/*"):
			end = until(statement, i+2, "*/")
		}
		b.WriteString(statement[i:end])
		i = end
	}
	return b.String(), bound
}

// until is where the first mark after at ends, or the end of s.
func until(s string, at int, mark string) int {
	if n := strings.Index(s[at:], mark); n >= 0 {
		return at + n + len(mark)
	}
	return len(s)
}

// timeLayouts are the forms of times in statements.
var timeLayouts = []string{"2006-01-02 15:04:05", "2006-01-02 15:04:05.999999999", "2006-01-02", "2006-01-02T15:04:05Z07:00", "2006-01-02 15:04"}

// times are the bounds that a query sets on the events of a relation. A bound
// that is not understood is none.
func (p *plan) times(relation string) (from, to time.Time) {
	from, to = time.Unix(0, 0), lastTime
	for _, c := range p.Predicates[relation] {
		if c.Column != "eventtime" || len(c.Values) != 1 {
			continue
		}
		var t time.Time
		err := errors.New("no layout")
		for _, l := range timeLayouts {
			if t, err = time.Parse(l, c.Values[0]); err == nil {
				break
			}
		}
		if err != nil {
			continue
		}
		if strings.HasPrefix(c.Op, ">") || c.Op == "=" {
			from = later(from, t)
		}
		if strings.HasPrefix(c.Op, "<") || c.Op == "=" {
			to = earlier(to, t)
		}
	}
	return from, to
}

func later(a, b time.Time) time.Time {
	if b.After(a) {
		return b
	}
	return a
}

func earlier(a, b time.Time) time.Time {
	if b.Before(a) {
		return b
	}
	return a
}
