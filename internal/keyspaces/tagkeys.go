package keyspaces

import (
	"strings"

	api "github.com/aws/aws-sdk-go-v2/service/keyspaces"

	"spoor/internal/call"
	"spoor/internal/cql/ast"
)

// The condition keys of tags (service authorization reference, "Condition keys
// for Amazon Keyspaces"): aws:RequestTag/… and aws:TagKeys of the tags that a
// call gives or takes, aws:ResourceTag/… of those that its keyspace or table
// has. A table does not take on its keyspace's.

// requestTags adds the keys of tags given with a call.
func requestTags(keys map[string][]string, tags map[string]string) map[string][]string {
	if len(tags) == 0 {
		return keys
	}
	out := make(map[string][]string, len(keys)+len(tags)+1)
	for k, v := range keys {
		out[k] = v
	}
	for k, v := range tags {
		out["aws:requesttag/"+strings.ToLower(k)] = []string{v}
	}
	out["aws:tagkeys"] = keysOf(tags)
	return out
}

// resourceTags are the keys of a resource's tags; nil when it has none.
func resourceTags(tags map[string]string) map[string][]string {
	if len(tags) == 0 {
		return nil
	}
	out := make(map[string][]string, len(tags))
	for k, v := range tags {
		out["aws:resourcetag/"+strings.ToLower(k)] = []string{v}
	}
	return out
}

// tagsOf are the tags that a keyspace or table has; nil when it does not exist.
func (s *Schema) tagsOf(keyspace, table string) map[string]string {
	ks := s.Keyspaces[keyspace]
	switch {
	case ks == nil:
		return nil
	case table == "":
		return ks.Tags
	}
	if t := ks.Tables[table]; t != nil {
		return t.Tags
	}
	return nil
}

// givenTags are the tags in the input of an HTTP operation.
func givenTags(in any) map[string]string {
	switch x := in.(type) {
	case *api.CreateKeyspaceInput:
		return tagMap(x.Tags)
	case *api.CreateTableInput:
		return tagMap(x.Tags)
	case *api.TagResourceInput:
		return tagMap(x.Tags)
	case *api.UntagResourceInput:
		return tagMap(x.Tags)
	}
	return nil
}

// statementTags are the tags in a CQL statement. Tags that are no map of texts
// are left to the statement's own check.
func statementTags(stmt ast.Statement) map[string]string {
	var list []ast.Property
	var given ast.Expr
	switch s := stmt.(type) {
	case *ast.CreateKeyspace:
		list = s.Properties
	case *ast.CreateTable:
		list = s.Options.Properties
	case *ast.AlterKeyspace:
		if s.Tags != nil {
			given = s.Tags
		}
	case *ast.AlterTable:
		if s.Tags != nil {
			given = s.Tags
		}
	}
	for _, p := range list {
		if p.Name == "tags" {
			given = p.Value
		}
	}
	if given == nil {
		return nil
	}
	m, err := textMap("tags", given)
	if err != nil {
		return nil
	}
	return m
}

// permissions are those of one action, and of the tagging that goes with it.
func permissions(dst []call.Permission, arn, action, tagging string, have, given map[string]string) []call.Permission {
	p := call.Permission{Action: action, Resource: arn, Context: requestTags(resourceTags(have), given)}
	dst = append(dst, p)
	if tagging != "" {
		p.Action = tagging
		dst = append(dst, p)
	}
	return dst
}
