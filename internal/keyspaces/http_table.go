package keyspaces

import (
	"context"
	"slices"

	api "github.com/aws/aws-sdk-go-v2/service/keyspaces"
	apitypes "github.com/aws/aws-sdk-go-v2/service/keyspaces/types"

	"spoor/internal/call"
	"spoor/internal/cql"
	"spoor/internal/cql/ast"
	"spoor/internal/cql/types"
)

// settings are what CreateTable and UpdateTable have in common.
type settings struct {
	capacity   *apitypes.CapacitySpecification
	timestamps *apitypes.ClientSideTimestamps
	ttl        *int32
	ttlStatus  *apitypes.TimeToLive
	encryption *apitypes.EncryptionSpecification
	pitr       *apitypes.PointInTimeRecovery
	// unsupported is set when a setting is given that this server does not have.
	unsupported bool
}

func (s settings) apply(o *tableOptions) error {
	if s.unsupported {
		return public(cql.Invalid("Auto scaling, replicas, change data capture and warm throughput are not supported."))
	}
	if c := s.capacity; c != nil {
		o.ReadUnits, o.WriteUnits = 0, 0
		if c.ThroughputMode == apitypes.ThroughputModeProvisioned {
			if c.ReadCapacityUnits == nil || c.WriteCapacityUnits == nil || *c.ReadCapacityUnits < 1 || *c.WriteCapacityUnits < 1 {
				return public(cql.Invalid("readCapacityUnits and writeCapacityUnits are required with PROVISIONED throughput"))
			}
			o.ReadUnits, o.WriteUnits = *c.ReadCapacityUnits, *c.WriteCapacityUnits
		}
	}
	if s.timestamps != nil {
		o.ClientTimestamps = true
	}
	if s.ttlStatus != nil {
		o.TTLEnabled = true
	}
	if s.ttl != nil {
		if *s.ttl < 0 || *s.ttl > maxTTL {
			return public(cql.Invalid("defaultTimeToLive must be from 0 to %d", maxTTL))
		}
		o.DefaultTTL = *s.ttl
	}
	if e := s.encryption; e != nil {
		o.KMSKey = text(e.KmsKeyIdentifier)
	}
	if s.pitr != nil {
		o.PITR = s.pitr.Status == apitypes.PointInTimeRecoveryStatusEnabled
	}
	return nil
}

func (k *Keyspace) column(d apitypes.ColumnDefinition) (*Column, error) {
	typ, err := k.parseType(text(d.Type))
	if err != nil {
		return nil, public(cql.AsError(err))
	}
	return &Column{Name: text(d.Name), Kind: regularColumn, Type: typ, Pos: -1}, nil
}

// newTable makes the table of a CreateTable.
func newTable(c *call.Call, ks *Keyspace, in *api.CreateTableInput) (*Table, error) {
	t := &Table{Keyspace: ks.Name, Name: text(in.TableName), Created: c.Start, Tags: tagMap(in.Tags)}
	def := in.SchemaDefinition
	if def == nil {
		return nil, public(cql.Invalid("schemaDefinition is required"))
	}
	for _, d := range def.AllColumns {
		col, err := ks.column(d)
		if err != nil {
			return nil, err
		}
		if slices.ContainsFunc(def.StaticColumns, func(x apitypes.StaticColumn) bool { return text(x.Name) == col.Name }) {
			col.Kind = staticColumn
		}
		t.Columns = append(t.Columns, col)
	}
	var partition, clustering []string
	var order []ast.ClusteringOrder
	for _, k := range def.PartitionKeys {
		partition = append(partition, text(k.Name))
	}
	for _, k := range def.ClusteringKeys {
		clustering = append(clustering, text(k.Name))
		order = append(order, ast.ClusteringOrder{Column: ast.Name{Text: text(k.Name)}, Desc: k.OrderBy == apitypes.SortOrderDesc})
	}
	if len(partition) == 0 {
		return nil, public(cql.Invalid("No PRIMARY KEY specifed (exactly one required)"))
	}
	if err := setPrimaryKey(t, partition, clustering); err != nil {
		return nil, err
	}
	if err := setOrder(t, order); err != nil {
		return nil, err
	}
	if in.Comment != nil {
		t.Options.Comment = text(in.Comment.Message)
	}
	return t, settings{in.CapacitySpecification, in.ClientSideTimestamps, in.DefaultTimeToLive, in.Ttl, in.EncryptionSpecification, in.PointInTimeRecovery,
		in.AutoScalingSpecification != nil || len(in.ReplicaSpecifications) > 0 || in.CdcSpecification != nil || in.WarmThroughputSpecification != nil}.apply(&t.Options)
}

func (s *Service) updateTable(c *call.Call, in *api.UpdateTableInput) error {
	return s.define(c, func(x *change) error {
		return x.alterTable(text(in.KeyspaceName), text(in.TableName), false, func(ks *Keyspace, t *Table) error {
			for _, d := range in.AddColumns {
				col, err := ks.column(d)
				if err != nil {
					return err
				}
				if slices.ContainsFunc(t.Columns, func(o *Column) bool { return o.Name == col.Name }) {
					return public(cql.Invalid("Invalid column name %s because it conflicts with an existing column", col.Name))
				}
				col.ID = t.NextColumn
				t.NextColumn++
				t.Columns = append(t.Columns, col)
			}
			if err := checkColumns(t, len(t.Clustering)); err != nil {
				return err
			}
			return settings{in.CapacitySpecification, in.ClientSideTimestamps, in.DefaultTimeToLive, in.Ttl, in.EncryptionSpecification, in.PointInTimeRecovery,
				in.AutoScalingSpecification != nil || len(in.ReplicaSpecifications) > 0 || in.CdcSpecification != nil || in.WarmThroughputSpecification != nil}.apply(&t.Options)
		})
	})
}

// tableOutput describes a table as GetTable does.
func tableOutput(c *call.Call, t *Table) *api.GetTableOutput {
	def := &apitypes.SchemaDefinition{}
	for _, col := range t.Columns {
		def.AllColumns = append(def.AllColumns, apitypes.ColumnDefinition{Name: &col.Name, Type: pointer(col.Type.String())})
		switch col.Kind {
		case partitionKey:
			def.PartitionKeys = append(def.PartitionKeys, apitypes.PartitionKey{Name: &col.Name})
		case clusteringKey:
			order := apitypes.SortOrderAsc
			if col.Desc {
				order = apitypes.SortOrderDesc
			}
			def.ClusteringKeys = append(def.ClusteringKeys, apitypes.ClusteringKey{Name: &col.Name, OrderBy: order})
		case staticColumn:
			def.StaticColumns = append(def.StaticColumns, apitypes.StaticColumn{Name: &col.Name})
		}
	}
	o := t.Options
	out := &api.GetTableOutput{KeyspaceName: &t.Keyspace, TableName: &t.Name, ResourceArn: pointer(resourceARN(c.Region, c.AccountID, t.Keyspace, t.Name)),
		CreationTimestamp: &t.Created, Status: apitypes.TableStatusActive, SchemaDefinition: def,
		CapacitySpecification:   &apitypes.CapacitySpecificationSummary{ThroughputMode: apitypes.ThroughputModePayPerRequest},
		EncryptionSpecification: &apitypes.EncryptionSpecification{Type: apitypes.EncryptionTypeAwsOwnedKmsKey},
		PointInTimeRecovery:     &apitypes.PointInTimeRecoverySummary{Status: apitypes.PointInTimeRecoveryStatusDisabled},
		DefaultTimeToLive:       pointer(o.DefaultTTL), Comment: &apitypes.Comment{Message: pointer(o.Comment)}}
	if o.ReadUnits > 0 {
		out.CapacitySpecification = &apitypes.CapacitySpecificationSummary{ThroughputMode: apitypes.ThroughputModeProvisioned,
			ReadCapacityUnits: pointer(o.ReadUnits), WriteCapacityUnits: pointer(o.WriteUnits)}
	}
	if o.KMSKey != "" {
		out.EncryptionSpecification = &apitypes.EncryptionSpecification{Type: apitypes.EncryptionTypeCustomerManagedKmsKey, KmsKeyIdentifier: pointer(o.KMSKey)}
	}
	if o.PITR {
		out.PointInTimeRecovery = &apitypes.PointInTimeRecoverySummary{Status: apitypes.PointInTimeRecoveryStatusEnabled, EarliestRestorableTimestamp: pointer(t.Created)}
	}
	if o.ClientTimestamps {
		out.ClientSideTimestamps = &apitypes.ClientSideTimestamps{Status: apitypes.ClientSideTimestampsStatusEnabled}
	}
	if o.TTLEnabled || o.DefaultTTL > 0 {
		out.Ttl = &apitypes.TimeToLive{Status: apitypes.TimeToLiveStatusEnabled}
	}
	return out
}

func (s *Service) tableOperations() []call.Operation {
	return []call.Operation{
		operation(s, "CreateTable", "CreateTable", "cassandra:Create", func(in *api.CreateTableInput) (string, string) { return text(in.KeyspaceName), text(in.TableName) },
			func(_ context.Context, c *call.Call, in *api.CreateTableInput) (*api.CreateTableOutput, error) {
				out := &api.CreateTableOutput{ResourceArn: pointer(resourceARN(c.Region, c.AccountID, text(in.KeyspaceName), text(in.TableName)))}
				return out, s.define(c, func(x *change) error {
					ks, err := x.own(text(in.KeyspaceName))
					if err != nil {
						return err
					}
					t, err := newTable(c, ks, in)
					if err != nil {
						return err
					}
					return x.createTable(t, false)
				})
			}),
		operation(s, "UpdateTable", "AlterTable", "cassandra:Alter", func(in *api.UpdateTableInput) (string, string) { return text(in.KeyspaceName), text(in.TableName) },
			func(_ context.Context, c *call.Call, in *api.UpdateTableInput) (*api.UpdateTableOutput, error) {
				out := &api.UpdateTableOutput{ResourceArn: pointer(resourceARN(c.Region, c.AccountID, text(in.KeyspaceName), text(in.TableName)))}
				return out, s.updateTable(c, in)
			}),
		operation(s, "DeleteTable", "DropTable", "cassandra:Drop", func(in *api.DeleteTableInput) (string, string) { return text(in.KeyspaceName), text(in.TableName) },
			func(_ context.Context, c *call.Call, in *api.DeleteTableInput) (*api.DeleteTableOutput, error) {
				return &api.DeleteTableOutput{}, s.define(c, func(x *change) error { return x.dropTable(text(in.KeyspaceName), text(in.TableName), false) })
			}),
		operation(s, "GetTable", "Select", "cassandra:Select", func(in *api.GetTableInput) (string, string) { return text(in.KeyspaceName), text(in.TableName) },
			func(_ context.Context, c *call.Call, in *api.GetTableInput) (*api.GetTableOutput, error) {
				t, err := s.findTable(c, text(in.KeyspaceName), text(in.TableName))
				if err != nil {
					return nil, err
				}
				return tableOutput(c, t), nil
			}),
		operation(s, "ListTables", "Select", "cassandra:Select", func(in *api.ListTablesInput) (string, string) { return text(in.KeyspaceName), "" },
			func(_ context.Context, c *call.Call, in *api.ListTablesInput) (*api.ListTablesOutput, error) {
				ks, err := s.findKeyspace(c, text(in.KeyspaceName))
				if err != nil {
					return nil, err
				}
				names, next, err := page(keysOf(ks.Tables), in.NextToken, in.MaxResults)
				out := &api.ListTablesOutput{NextToken: next, Tables: []apitypes.TableSummary{}}
				for _, n := range names {
					out.Tables = append(out.Tables, apitypes.TableSummary{KeyspaceName: &ks.Name, TableName: &n, ResourceArn: pointer(resourceARN(c.Region, c.AccountID, ks.Name, n))})
				}
				return out, err
			}),
	}
}

func (s *Service) typeOperations() []call.Operation {
	return []call.Operation{
		operation(s, "CreateType", "CreateUdt", "cassandra:Create", func(in *api.CreateTypeInput) (string, string) { return text(in.KeyspaceName), "" },
			func(_ context.Context, c *call.Call, in *api.CreateTypeInput) (*api.CreateTypeOutput, error) {
				name := text(in.KeyspaceName)
				out := &api.CreateTypeOutput{TypeName: in.TypeName, KeyspaceArn: pointer(resourceARN(c.Region, c.AccountID, name, ""))}
				return out, s.define(c, func(x *change) error {
					ks, err := x.own(name)
					if err != nil {
						return err
					}
					t := &types.Type{Kind: types.UDT, Keyspace: name, Name: text(in.TypeName)}
					for _, f := range in.FieldDefinitions {
						a, err := ks.parseType(text(f.Type))
						if err != nil {
							return public(cql.AsError(err))
						}
						t.Fields, t.Args = append(t.Fields, text(f.Name)), append(t.Args, a)
					}
					return x.createType(t, false)
				})
			}),
		operation(s, "DeleteType", "DropUdt", "cassandra:Drop", func(in *api.DeleteTypeInput) (string, string) { return text(in.KeyspaceName), "" },
			func(_ context.Context, c *call.Call, in *api.DeleteTypeInput) (*api.DeleteTypeOutput, error) {
				out := &api.DeleteTypeOutput{TypeName: in.TypeName, KeyspaceArn: pointer(resourceARN(c.Region, c.AccountID, text(in.KeyspaceName), ""))}
				return out, s.define(c, func(x *change) error { return x.dropType(text(in.KeyspaceName), text(in.TypeName), false) })
			}),
		operation(s, "GetType", "Select", "cassandra:Select", func(in *api.GetTypeInput) (string, string) { return text(in.KeyspaceName), "" },
			func(_ context.Context, c *call.Call, in *api.GetTypeInput) (*api.GetTypeOutput, error) {
				ks, err := s.findKeyspace(c, text(in.KeyspaceName))
				if err != nil {
					return nil, err
				}
				t := ks.Types[text(in.TypeName)]
				if t == nil {
					return nil, missing(cql.Invalid("'type %s.%s' was not found", ks.Name, text(in.TypeName)))
				}
				return typeOutput(c, ks, t), nil
			}),
		operation(s, "ListTypes", "Select", "cassandra:Select", func(in *api.ListTypesInput) (string, string) { return text(in.KeyspaceName), "" },
			func(_ context.Context, c *call.Call, in *api.ListTypesInput) (*api.ListTypesOutput, error) {
				ks, err := s.findKeyspace(c, text(in.KeyspaceName))
				if err != nil {
					return nil, err
				}
				names, next, err := page(keysOf(ks.Types), in.NextToken, in.MaxResults)
				return &api.ListTypesOutput{NextToken: next, Types: append([]string{}, names...)}, err
			}),
	}
}

func typeOutput(c *call.Call, ks *Keyspace, t *types.Type) *api.GetTypeOutput {
	out := &api.GetTypeOutput{KeyspaceName: &ks.Name, TypeName: &t.Name, KeyspaceArn: pointer(resourceARN(c.Region, c.AccountID, ks.Name, "")),
		Status: apitypes.TypeStatusActive, MaxNestingDepth: int32(depth(t))}
	for i, a := range t.Args {
		out.FieldDefinitions = append(out.FieldDefinitions, apitypes.FieldDefinition{Name: &t.Fields[i], Type: pointer(a.String())})
	}
	for _, n := range keysOf(ks.Types) {
		if n != t.Name && ks.Types[n].Uses(ks.Name, t.Name) {
			out.DirectParentTypes = append(out.DirectParentTypes, n)
		}
	}
	for _, n := range keysOf(ks.Tables) {
		if slices.ContainsFunc(ks.Tables[n].Columns, func(x *Column) bool { return x.Type.Uses(ks.Name, t.Name) }) {
			out.DirectReferringTables = append(out.DirectReferringTables, n)
		}
	}
	return out
}

// depth is how deep UDTs nest within t, itself included.
func depth(t *types.Type) int {
	n := 0
	for _, a := range t.Args {
		n = max(n, depth(a))
	}
	if t.Kind == types.UDT {
		n++
	}
	return n
}
