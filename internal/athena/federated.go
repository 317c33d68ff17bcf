package athena

import (
	"context"

	"spoor/internal/athena/sql"
	"spoor/internal/aws"
	"spoor/internal/call"
	"spoor/internal/engine/duckdb"
	"spoor/internal/glue"
)

// Stores are CloudTrail's event data stores, of which the federated ones are
// tables. lake.Manager is one.
type Stores interface {
	// Federated gives a store to a query, under a relation's name in q. The store
	// is held until release is called, which says how many bytes were read.
	Federated(account, region, id, name string, q *sql.Rewritten) (rel duckdb.Relation, release func() int64, err error)
	// Permission is a right on a store, with the store's own policy and tags.
	Permission(action, arn string) call.Permission
}

// federated is the relation of a federated event data store. Beside Glue's
// rights the query's caller needs those on the store's events, which Lake
// Formation hands out on AWS. The store's own policy counts as for StartQuery.
func (s *Service) federated(ctx context.Context, e *execution, name string, t *glue.Table, q *sql.Rewritten) (relation, error) {
	if s.cfg.Stores == nil {
		return relation{}, userError(1200, "NOT_SUPPORTED: federated event data stores are not there")
	}
	arn := aws.NewARN("cloudtrail", e.Region, e.Account, "eventdatastore/"+t.Name).String()
	p := s.cfg.Stores.Permission("cloudtrail:GetEventDataStoreData", arn)
	p.Via = principal
	if err := s.allowed(ctx, e, "Insufficient permissions to execute the query. The caller may not do cloudtrail:GetEventDataStoreData on "+arn, p); err != nil {
		return relation{}, err
	}
	rel, release, err := s.cfg.Stores.Federated(e.Account, e.Region, t.Name, name, q)
	if err != nil {
		return relation{}, err
	}
	return relation{Relation: rel, release: func() { e.Scanned += release() }}, nil
}
