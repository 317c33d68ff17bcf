package ast

// reservedWords cannot be identifiers without quotes (Cassandra 3.11 CQL
// reference, appendix A; MBEAN(S), MATERIALIZED, VIEW and DEFAULT, UNSET as in
// its grammar), together with the boolean constants.
var reservedWords = wordSet(
	"add", "allow", "alter", "and", "apply", "asc", "authorize", "batch", "begin", "by", "columnfamily",
	"create", "default", "delete", "desc", "describe", "drop", "entries", "execute", "false", "from", "full", "grant",
	"if", "in", "index", "infinity", "insert", "into", "is", "keyspace", "limit", "materialized", "mbean",
	"mbeans", "modify", "nan", "norecursive", "not", "null", "of", "on", "or", "order", "primary", "rename",
	"replace", "revoke", "schema", "select", "set", "table", "to", "token", "true", "truncate", "unlogged", "unset",
	"update", "use", "using", "view", "where", "with",
)

// nativeTypes are the scalar types with a keyword of their own.
var nativeTypes = wordSet(
	"ascii", "bigint", "blob", "boolean", "counter", "date", "decimal", "double", "duration", "empty", "float",
	"inet", "int", "smallint", "text", "time", "timestamp", "timeuuid", "tinyint", "uuid", "varchar", "varint",
)

func wordSet(words ...string) map[string]struct{} {
	m := make(map[string]struct{}, len(words))
	for _, w := range words {
		m[w] = struct{}{}
	}
	return m
}

// IsReserved reports whether a lower-case word may not be an unquoted
// identifier.
func IsReserved(word string) bool {
	_, ok := reservedWords[word]
	return ok
}

// IsNativeType reports whether a lower-case word is a scalar type's name.
func IsNativeType(word string) bool {
	_, ok := nativeTypes[word]
	return ok
}

// AppendIdent appends an identifier, quoted when its text would not come back
// without quotes.
func AppendIdent(dst []byte, name string) []byte {
	if isPlain(name) && !IsReserved(name) {
		return append(dst, name...)
	}
	dst = append(dst, '"')
	for i := 0; i < len(name); i++ {
		if name[i] == '"' {
			dst = append(dst, '"')
		}
		dst = append(dst, name[i])
	}
	return append(dst, '"')
}

// QuoteIdent is AppendIdent to a string.
func QuoteIdent(name string) string { return string(AppendIdent(nil, name)) }

func isPlain(name string) bool {
	if name == "" || name[0] < 'a' || name[0] > 'z' {
		return false
	}
	for i := 1; i < len(name); i++ {
		c := name[i]
		if (c < 'a' || c > 'z') && (c < '0' || c > '9') && c != '_' {
			return false
		}
	}
	return true
}

// AppendString appends text as a string constant in single quotes.
func AppendString(dst []byte, text string) []byte {
	dst = append(dst, '\'')
	for i := 0; i < len(text); i++ {
		if text[i] == '\'' {
			dst = append(dst, '\'')
		}
		dst = append(dst, text[i])
	}
	return append(dst, '\'')
}

// ReservedWords lists the words for which IsReserved holds, in no order.
func ReservedWords() []string {
	words := make([]string, 0, len(reservedWords))
	for w := range reservedWords {
		words = append(words, w)
	}
	return words
}
