package keyspaces

import (
	"context"
	"encoding/base64"
	"net/http"
	"slices"
	"strings"

	api "github.com/aws/aws-sdk-go-v2/service/keyspaces"
	apitypes "github.com/aws/aws-sdk-go-v2/service/keyspaces/types"

	"spoor/internal/aws"
	"spoor/internal/call"
	"spoor/internal/cql"
	"spoor/internal/record"
)

// HTTP is the Keyspaces API as the HTTP listener serves it. In records its
// operations go by the names of the CQL statements that they amount to.
func (s *Service) HTTP() *call.Service {
	return &call.Service{
		Name: "keyspaces", SigningName: "cassandra", EventSource: eventSource, APIVersion: cql.Version, Protocol: call.JSON10,
		TargetPrefixes: []string{"KeyspacesService"}, LowerCamel: true, RecordAPIVersion: true,
		Operations: slices.Concat(s.keyspaceOperations(), s.tableOperations(), s.typeOperations(), s.tagOperations()),
		Refused:    []string{"RestoreTable", "GetTableAutoScalingSettings"},
		RefusedError: func(op string) error {
			return &aws.Error{Op: "keyspaces." + op, Kind: aws.Unsupported, Status: http.StatusBadRequest, Code: "ValidationException",
				Message: "The operation " + op + " is not offered by this server."}
		},
	}
}

// defaultPage is how many items a page of a list has, and at most.
const defaultPage = 1000

func text(p *string) string {
	if p == nil {
		return ""
	}
	return *p
}

func pointer[T any](v T) *T { return &v }

// recorded sets what a record says beside the generic form: the event's name,
// whether it is a data event, and the resource.
func recorded[I, O any](event string, data bool, names func(in *I) (keyspace, table string)) func(*call.Operation) {
	return func(op *call.Operation) {
		op.EventName, op.Data, op.ReadOnly, op.NoResponse = event, data, data, true
		call.Describe(func(c *call.Call, in *I, _ *O, _ error, r *record.Record) {
			ks, table := names(in)
			if ks == "" {
				return
			}
			res := record.Resource{Type: "AWS::Cassandra::Keyspace", ARN: resourceARN(c.Region, c.AccountID, ks, table), AccountID: c.AccountID}
			if table != "" {
				res.Type = "AWS::Cassandra::Table"
			}
			r.Resources = append(r.Resources, res)
		})(op)
	}
}

// operation makes an operation on a keyspace or table.
func operation[I, O any](s *Service, name, event, action string, names func(in *I) (keyspace, table string),
	handle func(ctx context.Context, c *call.Call, in *I) (*O, error)) call.Operation {
	perms := func(c *call.Call, in *I) ([]call.Permission, error) {
		ks, table := names(in)
		given, tagging := givenTags(in), ""
		if action == "cassandra:Create" && len(given) > 0 {
			tagging = "cassandra:TagResource"
		}
		return permissions(nil, resourceARN(c.Region, c.AccountID, ks, table), action, tagging, s.schemaOf(c).tagsOf(ks, table), given), nil
	}
	return call.Op(name, perms, handle, recorded[I, O](event, event == "Select", names))
}

// define runs a change of the schema for an HTTP call, and tells the drivers.
func (s *Service) define(c *call.Call, fn func(x *change) error) error {
	x := s.change(c)
	if err := fn(x); err != nil {
		return fail(err)
	}
	if told := x.told; s.changed != nil && told.Type != "" {
		account, region := c.AccountID, c.Region
		c.Tx.OnCommit(func() { s.changed(account, region, told) })
	}
	return nil
}

func (s *Service) schemaOf(c *call.Call) *Schema {
	return s.space(owner{c.AccountID, c.Region}).schema.Load()
}

func (s *Service) findKeyspace(c *call.Call, name string) (*Keyspace, error) {
	if tables := systemTables[name]; tables != nil {
		return &Keyspace{Name: name, Tables: tables, Durable: true, Replication: map[string]string{"class": "SingleRegionStrategy"}}, nil
	}
	if ks := s.schemaOf(c).Keyspaces[name]; ks != nil {
		return ks, nil
	}
	return nil, missing(cql.Invalid("'keyspace %s' was not found", name))
}

func (s *Service) findTable(c *call.Call, keyspace, name string) (*Table, error) {
	ks, err := s.findKeyspace(c, keyspace)
	if err != nil {
		return nil, err
	}
	if t := ks.Tables[name]; t != nil {
		return t, nil
	}
	return nil, missing(cql.Invalid("'table %s.%s' was not found", keyspace, name))
}

// page cuts a sorted list of names: those behind token, at most max. next is
// empty when nothing is left.
func page(names []string, token *string, limit *int32) (out []string, next *string, err error) {
	if token != nil {
		after, derr := base64.RawURLEncoding.DecodeString(*token)
		if derr != nil {
			return nil, nil, public(cql.Invalid("The next token is invalid."))
		}
		i, found := slices.BinarySearch(names, string(after))
		if found {
			i++
		}
		names = names[i:]
	}
	n := defaultPage
	if limit != nil && *limit > 0 {
		n = min(n, int(*limit))
	}
	if len(names) <= n {
		return names, nil, nil
	}
	return names[:n], pointer(base64.RawURLEncoding.EncodeToString([]byte(names[n-1]))), nil
}

func keysOf[V any](m map[string]V) []string {
	out := make([]string, 0, len(m))
	for k := range m {
		out = append(out, k)
	}
	slices.Sort(out)
	return out
}

func replication(spec *apitypes.ReplicationSpecification) (map[string]string, error) {
	if spec != nil && spec.ReplicationStrategy == apitypes.RsMultiRegion {
		return nil, public(cql.Invalid("Multi-Region keyspaces are not supported."))
	}
	return map[string]string{"class": "SingleRegionStrategy"}, nil
}

func (s *Service) keyspaceOperations() []call.Operation {
	return []call.Operation{
		operation(s, "CreateKeyspace", "CreateKeyspace", "cassandra:Create", func(in *api.CreateKeyspaceInput) (string, string) { return text(in.KeyspaceName), "" },
			func(_ context.Context, c *call.Call, in *api.CreateKeyspaceInput) (*api.CreateKeyspaceOutput, error) {
				r, err := replication(in.ReplicationSpecification)
				if err != nil {
					return nil, err
				}
				ks := &Keyspace{Name: text(in.KeyspaceName), Durable: true, Created: c.Start, Replication: r, Tags: tagMap(in.Tags)}
				err = s.define(c, func(x *change) error { return x.createKeyspace(ks, false) })
				return &api.CreateKeyspaceOutput{ResourceArn: pointer(resourceARN(c.Region, c.AccountID, ks.Name, ""))}, err
			}),
		operation(s, "UpdateKeyspace", "AlterKeyspace", "cassandra:Alter", func(in *api.UpdateKeyspaceInput) (string, string) { return text(in.KeyspaceName), "" },
			func(_ context.Context, c *call.Call, in *api.UpdateKeyspaceInput) (*api.UpdateKeyspaceOutput, error) {
				r, err := replication(in.ReplicationSpecification)
				if err != nil {
					return nil, err
				}
				name := text(in.KeyspaceName)
				err = s.define(c, func(x *change) error {
					return x.alterKeyspace(name, func(ks *Keyspace) error { ks.Replication = r; return nil })
				})
				return &api.UpdateKeyspaceOutput{ResourceArn: pointer(resourceARN(c.Region, c.AccountID, name, ""))}, err
			}),
		operation(s, "DeleteKeyspace", "DropKeyspace", "cassandra:Drop", func(in *api.DeleteKeyspaceInput) (string, string) { return text(in.KeyspaceName), "" },
			func(_ context.Context, c *call.Call, in *api.DeleteKeyspaceInput) (*api.DeleteKeyspaceOutput, error) {
				return &api.DeleteKeyspaceOutput{}, s.define(c, func(x *change) error { return x.dropKeyspace(text(in.KeyspaceName), false) })
			}),
		operation(s, "GetKeyspace", "Select", "cassandra:Select", func(in *api.GetKeyspaceInput) (string, string) { return text(in.KeyspaceName), "" },
			func(_ context.Context, c *call.Call, in *api.GetKeyspaceInput) (*api.GetKeyspaceOutput, error) {
				ks, err := s.findKeyspace(c, text(in.KeyspaceName))
				if err != nil {
					return nil, err
				}
				return &api.GetKeyspaceOutput{KeyspaceName: &ks.Name, ReplicationStrategy: apitypes.RsSingleRegion, ReplicationRegions: []string{c.Region},
					ResourceArn: pointer(resourceARN(c.Region, c.AccountID, ks.Name, ""))}, nil
			}),
		operation(s, "ListKeyspaces", "Select", "cassandra:Select", func(*api.ListKeyspacesInput) (string, string) { return "system_schema", "keyspaces" },
			func(_ context.Context, c *call.Call, in *api.ListKeyspacesInput) (*api.ListKeyspacesOutput, error) {
				names := append(keysOf(s.schemaOf(c).Keyspaces), keysOf(systemTables)...)
				slices.Sort(names)
				names, next, err := page(names, in.NextToken, in.MaxResults)
				out := &api.ListKeyspacesOutput{NextToken: next, Keyspaces: []apitypes.KeyspaceSummary{}}
				for _, n := range names {
					out.Keyspaces = append(out.Keyspaces, apitypes.KeyspaceSummary{KeyspaceName: &n, ReplicationStrategy: apitypes.RsSingleRegion,
						ReplicationRegions: []string{c.Region}, ResourceArn: pointer(resourceARN(c.Region, c.AccountID, n, ""))})
				}
				return out, err
			}),
	}
}

// tag operations

func tagMap(tags []apitypes.Tag) map[string]string {
	m := map[string]string{}
	for _, t := range tags {
		m[text(t.Key)] = text(t.Value)
	}
	return m
}

// resourceNames gives what an ARN of Keyspaces names; empty when it names
// nothing of the kind.
func resourceNames(arn *string) (keyspace, table string) {
	a, err := aws.ParseARN(text(arn))
	if err != nil || a.Service != "cassandra" {
		return "", ""
	}
	p := strings.Split(strings.TrimPrefix(a.Resource, "/keyspace/"), "/")
	switch {
	case len(p) <= 2 && (len(p) == 1 || p[1] == ""):
		return p[0], ""
	case len(p) == 3 && p[1] == "table":
		return p[0], p[2]
	}
	return "", ""
}

func (s *Service) retag(c *call.Call, arn *string, set func(tags map[string]string)) error {
	keyspace, table := resourceNames(arn)
	if keyspace == "" {
		return public(cql.Invalid("The resource ARN is invalid."))
	}
	changed := func(old map[string]string) map[string]string {
		n := map[string]string{}
		for k, v := range old {
			n[k] = v
		}
		set(n)
		return n
	}
	return s.define(c, func(x *change) error {
		if table != "" {
			return x.alterTable(keyspace, table, false, func(_ *Keyspace, t *Table) error { t.Tags = changed(t.Tags); return nil })
		}
		return x.alterKeyspace(keyspace, func(ks *Keyspace) error { ks.Tags = changed(ks.Tags); return nil })
	})
}

func (s *Service) tagOperations() []call.Operation {
	return []call.Operation{
		operation(s, "TagResource", "AlterTable", "cassandra:TagResource", func(in *api.TagResourceInput) (string, string) { return resourceNames(in.ResourceArn) },
			func(_ context.Context, c *call.Call, in *api.TagResourceInput) (*api.TagResourceOutput, error) {
				return &api.TagResourceOutput{}, s.retag(c, in.ResourceArn, func(m map[string]string) {
					for _, t := range in.Tags {
						m[text(t.Key)] = text(t.Value)
					}
				})
			}),
		operation(s, "UntagResource", "AlterTable", "cassandra:UntagResource", func(in *api.UntagResourceInput) (string, string) { return resourceNames(in.ResourceArn) },
			func(_ context.Context, c *call.Call, in *api.UntagResourceInput) (*api.UntagResourceOutput, error) {
				return &api.UntagResourceOutput{}, s.retag(c, in.ResourceArn, func(m map[string]string) {
					for _, t := range in.Tags {
						if m[text(t.Key)] == text(t.Value) {
							delete(m, text(t.Key))
						}
					}
				})
			}),
		operation(s, "ListTagsForResource", "Select", "cassandra:Select", func(in *api.ListTagsForResourceInput) (string, string) { return resourceNames(in.ResourceArn) },
			func(_ context.Context, c *call.Call, in *api.ListTagsForResourceInput) (*api.ListTagsForResourceOutput, error) {
				keyspace, table := resourceNames(in.ResourceArn)
				ks, err := s.findKeyspace(c, keyspace)
				if err != nil {
					return nil, err
				}
				tags := ks.Tags
				if table != "" {
					t, err := s.findTable(c, keyspace, table)
					if err != nil {
						return nil, err
					}
					tags = t.Tags
				}
				names, next, err := page(keysOf(tags), in.NextToken, in.MaxResults)
				out := &api.ListTagsForResourceOutput{NextToken: next, Tags: []apitypes.Tag{}}
				for _, k := range names {
					out.Tags = append(out.Tags, apitypes.Tag{Key: &k, Value: pointer(tags[k])})
				}
				return out, err
			}),
	}
}
