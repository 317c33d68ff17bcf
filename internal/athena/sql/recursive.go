package sql

import (
	"fmt"
	"strconv"
	"strings"
)

// maxRecursion is how often the step of a recursive query gives rows: Trino's
// max_recursion_depth, which Athena leaves at its default.
const maxRecursion = 10

// with rewrites a query of WITH. Of WITH RECURSIVE, one that is a UNION whose
// right side names the query itself is recursive (Trino documentation, "SELECT",
// "WITH RECURSIVE clause"): its columns must be listed, so that they are known
// before it is.
func (w *rewriter) with(q *Query, c *CTE, s *scope) (string, []Column, error) {
	n := c.Query
	union, ok := n.Body.(*SetOp)
	if !q.Recursive || len(c.Columns) == 0 || !ok || union.Op != "UNION" || len(n.With) > 0 || len(n.OrderBy) > 0 || n.Limit != nil || n.Offset != nil {
		return w.query(n, s)
	}
	if err := w.enter(n.Pos); err != nil {
		return "", nil, err
	}
	w.recursion++
	defer func() { w.depth, w.recursion = w.depth-1, w.recursion-1 }()
	base, cols, _, err := w.body(union.Left, &scope{outer: s})
	if err != nil {
		return "", nil, err
	}
	used := false
	own := make([]Column, len(c.Columns))
	for i, name := range c.Columns {
		own[i].Name = name
	}
	step, stepCols, _, err := w.body(union.Right, &scope{outer: s, ctes: map[string][]Column{c.Name: own}, used: &used})
	if err != nil {
		return "", nil, err
	}
	if len(cols) != len(stepCols) {
		return "", nil, semantic("TYPE_MISMATCH", Pos{1, 1}, "UNION query has different number of fields: %d, %d", len(cols), len(stepCols))
	}
	cols = merged(cols, stepCols)
	if used {
		return unrolled(c, base, step, union.All), cols, nil
	}
	if union.All {
		return base + " UNION ALL " + step, cols, nil
	}
	return base + " UNION " + step, cols, nil
}

// unrolled is a recursive query as Trino plans one: the step is written out once
// for each depth, over the rows of the depth before, and once more, where rows
// fail the query. Nothing else bounds how long the engine would recurse.
func unrolled(c *CTE, base, step string, all bool) string {
	own := quoteIdent(c.Name)
	depth := func(k int) string { return quoteIdent(c.Name + " step " + strconv.Itoa(k)) }
	if !all {
		base = "SELECT DISTINCT * FROM (" + base + ")"
	}
	columns := "(" + identList(c.Columns) + ") AS MATERIALIZED ("
	with := []string{depth(0) + columns + base + ")"}
	rows := "SELECT * FROM " + depth(0)
	for k := 1; ; k++ {
		body := "WITH " + own + " AS (SELECT * FROM " + depth(k-1) + ") "
		if all {
			body += step
		} else {
			// Rows that were there before are not new ones.
			body += "SELECT * FROM (" + step + ") EXCEPT (" + rows + ")"
		}
		with = append(with, depth(k)+columns+body+")")
		if k > maxRecursion {
			break
		}
		rows += " UNION ALL SELECT * FROM " + depth(k)
	}
	last := depth(maxRecursion + 1)
	message := fmt.Sprintf("NOT_SUPPORTED: Recursion depth limit exceeded (%d). Use ''max_recursion_depth'' session property to modify the limit.", maxRecursion)
	return "WITH " + strings.Join(with, ", ") + " " + rows + " UNION ALL SELECT * FROM " + last +
		" WHERE (SELECT CASE WHEN count(*) > 0 THEN error('" + message + "') END FROM " + last + ") IS NULL"
}
