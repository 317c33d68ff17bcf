package ast

// Tables are the tables whose rows a statement reads or writes, in the order of
// a batch's statements; none for a schema statement. A name without a keyspace
// gets the given one.
func Tables(st Statement, keyspace string) []QualifiedName {
	var table QualifiedName
	switch st := st.(type) {
	case *Select:
		table = st.Table
	case *Insert:
		table = st.Table
	case *Update:
		table = st.Table
	case *Delete:
		table = st.Table
	case *Truncate:
		table = st.Table
	case *Batch:
		var tables []QualifiedName
		for _, child := range st.Statements {
			tables = append(tables, Tables(child, keyspace)...)
		}
		return tables
	default:
		return nil
	}
	if table.Keyspace == "" {
		table.Keyspace = keyspace
	}
	return []QualifiedName{table}
}
