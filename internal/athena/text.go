package athena

import "spoor/internal/athena/sql"

// Text gives a value's text as results of Trino's show it; ok is false for
// NULL.
func Text(v any, t sql.Type) (text string, ok bool) { return render(v, t) }
