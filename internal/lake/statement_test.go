package lake

import (
	"errors"
	"strings"
	"testing"
)

// TestNotSelect: a statement that changes tables is told that it cannot be
// one, however well it is written; a mistake in a query is named.
func TestNotSelect(t *testing.T) {
	t.Parallel()
	const id = "1d2f0060-1dd0-4d61-8571-26134d23de51"
	for _, tt := range []struct{ statement, want string }{
		{"DROP TABLE " + id, "only SELECT"},
		{"drop\ttable " + id, "only SELECT"},
		{"CREATE TABLE x (a int)", "only SELECT"},
		{"DELETE FROM " + id, "only SELECT"},
		{"INSERT INTO " + id + " VALUES (1)", "only SELECT"},
		{"SHOW TABLES", "only SELECT"},
		{"SELCT 1", "mismatched input 'SELCT'"},
	} {
		err := Plan(tt.statement, nil, func(string) (*Store, error) { return nil, errors.New("asked for a store") })
		if !errors.Is(err, ErrStatement) || !strings.Contains(err.Error(), tt.want) {
			t.Errorf("%s: got %v, want %q", tt.statement, err, tt.want)
		}
	}
}
