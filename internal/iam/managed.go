package iam

import (
	"bytes"
	"crypto/sha256"
	_ "embed"
	"encoding/base32"
	"encoding/json"
	"fmt"
	"time"
)

// managedJSON holds the AWS-managed policies for the services that this server
// has, written from the actions that "AWS managed policy reference" documents.
//
//go:embed managed.json
var managedJSON []byte

// managedPolicies are the AWS-managed policies by ARN. They belong to no
// account and do not change.
type managedPolicies struct {
	byARN map[string]*managedPolicy
}

func managedARN(name string) string { return "arn:aws:iam::aws:policy/" + name }

func loadManaged() (*managedPolicies, error) {
	var list []struct {
		Name, Path, Description string
		Created                 time.Time
		Document                json.RawMessage
	}
	if err := json.Unmarshal(managedJSON, &list); err != nil {
		return nil, fmt.Errorf("decoding: %w", err)
	}
	m := &managedPolicies{byARN: make(map[string]*managedPolicy, len(list))}
	for _, l := range list {
		var doc bytes.Buffer
		if err := json.Compact(&doc, l.Document); err != nil {
			return nil, fmt.Errorf("policy %s: %w", l.Name, err)
		}
		// The same id on every server: clients compare them.
		sum := sha256.Sum256([]byte(l.Name))
		p := &managedPolicy{
			ID: prefixPolicy + base32.StdEncoding.EncodeToString(sum[:])[:17], ARN: managedARN(l.Path[1:] + l.Name), Name: l.Name, Path: l.Path,
			Created: l.Created, Updated: l.Created, Description: l.Description, Default: "v1", Next: 2,
			Versions: []policyVersion{{ID: "v1", Document: doc.String(), Created: l.Created}},
		}
		if err := p.compile(); err != nil {
			return nil, fmt.Errorf("policy %s: %w", l.Name, err)
		}
		m.byARN[p.ARN] = p
	}
	return m, nil
}

// policy finds a managed policy, the account's or AWS's; nil when there is none.
func (d *Directory) policy(a *account, arn string) *managedPolicy {
	if p := d.managed.byARN[arn]; p != nil {
		return p
	}
	return a.policies[arn]
}
