package parser

import "spoor/internal/cql/ast"

// keyword is a word with a meaning in the grammar; 0 is any other word.
type keyword uint8

const (
	kwNone keyword = iota
	kwAdd
	kwAggregate
	kwAllow
	kwAlter
	kwAnd
	kwApply
	kwAs
	kwAsc
	kwBatch
	kwBegin
	kwBy
	kwCast
	kwClustering
	kwCompact
	kwContains
	kwCount
	kwCounter
	kwCreate
	kwCustom
	kwDefault
	kwDelete
	kwDesc
	kwDescribe
	kwDistinct
	kwDrop
	kwEntries
	kwExists
	kwFalse
	kwFiltering
	kwFrom
	kwFull
	kwFunction
	kwGrant
	kwGroup
	kwIf
	kwIn
	kwIndex
	kwInfinity
	kwInsert
	kwInto
	kwIs
	kwJSON
	kwKey
	kwKeys
	kwKeyspace // also SCHEMA
	kwLike
	kwLimit
	kwList
	kwMaterialized
	kwNaN
	kwNot
	kwNull
	kwOn
	kwOr
	kwOrder
	kwPartition
	kwPer
	kwPermissions
	kwPrimary
	kwRename
	kwReplace
	kwRestore
	kwRevoke
	kwRole
	kwRoles
	kwSelect
	kwSet
	kwStatic
	kwStorage
	kwTable // also COLUMNFAMILY
	kwTags
	kwTimestamp
	kwTo
	kwToken
	kwTrigger
	kwTrue
	kwTruncate
	kwTTL
	kwType
	kwUnlogged
	kwUnset
	kwUpdate
	kwUse
	kwUser
	kwUsers
	kwUsing
	kwValues
	kwView
	kwWhere
	kwWith
	kwWritetime
	kwReserved // reserved, and without a use in the grammar that is read
)

// keywordNames are the words by keyword, upper case; error texts name a keyword
// as Cassandra does, K_FROM.
var keywordNames = [...]string{
	kwAdd: "ADD", kwAggregate: "AGGREGATE", kwAllow: "ALLOW", kwAlter: "ALTER", kwAnd: "AND", kwApply: "APPLY",
	kwAs: "AS", kwAsc: "ASC", kwBatch: "BATCH", kwBegin: "BEGIN", kwBy: "BY", kwCast: "CAST",
	kwClustering: "CLUSTERING", kwCompact: "COMPACT", kwContains: "CONTAINS", kwCount: "COUNT",
	kwCounter: "COUNTER", kwCreate: "CREATE", kwCustom: "CUSTOM", kwDefault: "DEFAULT", kwDelete: "DELETE",
	kwDesc: "DESC", kwDescribe: "DESCRIBE", kwDistinct: "DISTINCT", kwDrop: "DROP", kwEntries: "ENTRIES",
	kwExists: "EXISTS", kwFalse: "FALSE", kwFiltering: "FILTERING", kwFrom: "FROM", kwFull: "FULL",
	kwFunction: "FUNCTION", kwGrant: "GRANT", kwGroup: "GROUP", kwIf: "IF", kwIn: "IN", kwIndex: "INDEX",
	kwInfinity: "INFINITY", kwInsert: "INSERT", kwInto: "INTO", kwIs: "IS", kwJSON: "JSON", kwKey: "KEY",
	kwKeys: "KEYS", kwKeyspace: "KEYSPACE", kwLike: "LIKE", kwLimit: "LIMIT", kwList: "LIST",
	kwMaterialized: "MATERIALIZED", kwNaN: "NAN", kwNot: "NOT", kwNull: "NULL", kwOn: "ON", kwOr: "OR",
	kwOrder: "ORDER", kwPartition: "PARTITION", kwPer: "PER", kwPermissions: "PERMISSIONS",
	kwPrimary: "PRIMARY", kwRename: "RENAME", kwReplace: "REPLACE", kwRestore: "RESTORE", kwRevoke: "REVOKE",
	kwRole: "ROLE", kwRoles: "ROLES", kwSelect: "SELECT", kwSet: "SET", kwStatic: "STATIC",
	kwStorage: "STORAGE", kwTable: "TABLE", kwTags: "TAGS", kwTimestamp: "TIMESTAMP", kwTo: "TO",
	kwToken: "TOKEN", kwTrigger: "TRIGGER", kwTrue: "TRUE", kwTruncate: "TRUNCATE", kwTTL: "TTL",
	kwType: "TYPE", kwUnlogged: "UNLOGGED", kwUnset: "UNSET", kwUpdate: "UPDATE", kwUse: "USE",
	kwUser: "USER", kwUsers: "USERS", kwUsing: "USING", kwValues: "VALUES", kwView: "VIEW",
	kwWhere: "WHERE", kwWith: "WITH", kwWritetime: "WRITETIME", kwReserved: "",
}

// keywords are the keywords by lower-case word. Every reserved word is there.
var keywords = keywordTable()

func keywordTable() map[string]keyword {
	table := make(map[string]keyword, 2*len(keywordNames))
	for _, word := range ast.ReservedWords() {
		table[word] = kwReserved
	}
	for kw, name := range keywordNames {
		if name != "" {
			table[lower(name)] = keyword(kw)
		}
	}
	table["schema"] = kwKeyspace
	table["columnfamily"] = kwTable
	return table
}

// maxKeyword is the longest keyword's length in bytes.
const maxKeyword = 12

// reserved tells of each keyword whether it is reserved.
var reserved = func() (r [kwReserved + 1]bool) {
	for kw, name := range keywordNames {
		r[kw] = name != "" && ast.IsReserved(lower(name))
	}
	r[kwReserved] = true
	return r
}()
