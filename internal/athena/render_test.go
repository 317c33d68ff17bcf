package athena

import (
	"testing"

	"spoor/internal/athena/sql"
)

func TestRender(t *testing.T) {
	t.Parallel()
	js := sql.Type{Name: "json"}
	tests := []struct {
		name  string
		value any
		typ   sql.Type
		want  string
	}{
		{"JSON keeps its numbers", `{"b": 12345678901234567890, "a":[1, 2.5, "<x>"]}`, js, `{"a":[1,2.5,"<x>"],"b":12345678901234567890}`},
		{"a JSON text has its quotes", `"x"`, js, `"x"`},
		{"a list of JSON", []any{`"x"`, nil, `1`}, sql.Type{Name: "array", Elems: []sql.Type{js}}, `["x", null, 1]`},
		{"unnamed fields", map[string]any{"field0": int32(1), "field1": "a"},
			sql.Type{Name: "row", Fields: []string{"", ""}, Elems: []sql.Type{{Name: "integer"}, {Name: "varchar"}}}, "{1, a}"},
		{"named and unnamed fields", map[string]any{"x": int32(1), "field1": nil},
			sql.Type{Name: "row", Fields: []string{"x", ""}, Elems: []sql.Type{{Name: "integer"}, {Name: "varchar"}}}, "{x=1, null}"},
	}
	for _, tt := range tests {
		if got, ok := render(tt.value, tt.typ); !ok || got != tt.want {
			t.Errorf("%s: %q, want %q", tt.name, got, tt.want)
		}
	}
}
