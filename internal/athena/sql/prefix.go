package sql

import "strconv"

// Prefix is a column of a relation, beside the table's own, whose first Length
// characters are those of a text column, and which is NULL where that is:
// substr(column, 1, n) is the same of either up to that length. It is there
// because it has few values, where the column's are all different.
type Prefix struct {
	Column string
	Length int
}

// A query is rewritten with prefixes in a second pass. The first one counts where
// else the query names the column: a GROUP BY must name what the select list
// does, so outside WHERE a prefix stands for the column everywhere or nowhere.

// mention is a column of one mention of a table.
type mention struct {
	table  *TableRef
	column string
}

// prefixes is what the passes know.
type prefixes struct {
	second bool
	// found says that the first pass saw a place for a prefix.
	found bool
	// bare are the columns that are named outside WHERE in other ways too.
	bare map[mention]bool
	// natural says that relations are joined by all the columns that they share.
	natural bool
	tables  map[TableName]*Table
}

// named notes that a column is named as such.
func (w *rewriter) named(rel *scopeRel, col Column) {
	if rel.table != nil && !rel.in.where {
		w.prefixes.bare[mention{rel.table, col.Name}] = true
	}
}

// prefix rewrites substr(column, 1, n) where a prefix of the column may stand for
// it; ok is false for anything else.
func (w *rewriter) prefix(c *Call, s *scope) (sql string, ok bool) {
	if c.Name != "substr" && c.Name != "substring" || len(c.Args) != 3 || c.Over != nil || c.OverName != "" {
		return "", false
	}
	r, isRef := c.Args[0].(*Ref)
	from, isFrom := c.Args[1].(*Literal)
	length, isLength := c.Args[2].(*Literal)
	if !isRef || !isFrom || !isLength || from.Kind != "INTEGER" || from.Text != "1" || length.Kind != "INTEGER" || s.lambda(r.Parts[0]) {
		return "", false
	}
	rel, col, rest, err := w.find(r, s)
	if err != nil || len(rest) > 0 || rel.table == nil || col.Prefix.Column == "" {
		return "", false
	}
	n, err := strconv.Atoi(length.Text)
	if err != nil || n > col.Prefix.Length {
		return "", false
	}
	w.prefixes.found = true
	name := col.Name
	if w.prefixes.second && (rel.in.where || !w.prefixes.bare[mention{rel.table, col.Name}]) {
		name = col.Prefix.Column
	}
	return "substr(" + quoteIdent(rel.alias) + "." + quoteIdent(name) + ", 1, " + length.Text + ")", true
}

// withPrefixes is the SQL of the second pass, "" where it would be the first's.
func (w *rewriter) withPrefixes(q *Query) (string, error) {
	if !w.prefixes.found || w.prefixes.natural {
		return "", nil
	}
	again := &rewriter{resolver: w.prefixes, database: w.database, params: w.params, textTimes: w.textTimes, out: &Rewritten{Predicates: map[string][]Predicate{}}, prefixes: w.prefixes}
	w.prefixes.second = true
	sql, cols, err := again.query(q, nil)
	if err != nil {
		return "", err
	}
	if sql = jsonAsText(sql, cols); sql == w.out.SQL {
		return "", nil
	}
	return sql, nil
}

// Table gives the second pass what the resolver gave the first one.
func (p *prefixes) Table(catalog, database, table string) (*Table, error) {
	if t := p.tables[TableName{catalog, database, table}]; t != nil {
		return t, nil
	}
	return nil, ErrNoTable
}
