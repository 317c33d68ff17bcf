package iam

import (
	"encoding/json"
	"errors"
	"fmt"
	"maps"

	"spoor/internal/call"
	"spoor/internal/kv"
)

// Tables of kv.SpaceState under "iam": (table, account, key).
const (
	service       = "iam"
	tableAccount  = "account"
	tableUser     = "user"
	tableGroup    = "group"
	tableRole     = "role"
	tablePolicy   = "policy"
	tableProfile  = "instance-profile"
	tableProvider = "oidc-provider"
	tableReport   = "credential-report"
	tableLastUsed = "last-used"
)

func stateKey(table, account, id string) []byte {
	return kv.Key(kv.SpaceState, service, table, account, id)
}

// secretKey is where the secret of an access key lies, sealed.
func secretKey(account, id string) []byte {
	return kv.Key(kv.SpaceSecret, service, "access-key", account, id)
}

// load reads everything. Policies are compiled here, so a document that this
// build does not understand fails the start rather than a decision.
func (d *Directory) load() (*snapshot, error) {
	snap := &snapshot{version: 1, accounts: map[string]*account{}}
	err := d.scan(tableAccount, func(_ string, value []byte) error {
		s := &settings{}
		if err := decode(value, s, &s.Version); err != nil {
			return err
		}
		snap.accounts[s.ID] = newAccount(s)
		return nil
	})
	if err != nil {
		return nil, err
	}
	for _, a := range snap.accounts {
		if err := d.loadSecrets(a.settings.ID, a.settings.RootKeys); err != nil {
			return nil, err
		}
		for _, k := range a.settings.RootKeys {
			a.keys[k.ID] = ""
		}
	}
	tables := []struct {
		name string
		read func(a *account, value []byte) error
	}{
		{tablePolicy, d.loadPolicy}, {tableGroup, d.loadGroup}, {tableRole, d.loadRole}, {tableUser, d.loadUser},
		{tableProfile, loadProfile}, {tableProvider, loadProvider},
	}
	for _, t := range tables {
		err := d.scan(t.name, func(id string, value []byte) error {
			a := snap.accounts[id]
			if a == nil {
				return fmt.Errorf("account %s does not exist", id)
			}
			return t.read(a, value)
		})
		if err != nil {
			return nil, fmt.Errorf("table %s: %w", t.name, err)
		}
	}
	return snap, d.loadLastUsed()
}

// scan calls fn with the account id and the value of each row of a table.
func (d *Directory) scan(table string, fn func(account string, value []byte) error) error {
	prefix := kv.Key(kv.SpaceState, service, table)
	return d.store.Scan(prefix, func(k, v []byte) (bool, error) {
		id, _, ok := kv.DecodeString(k[len(prefix):])
		if !ok {
			return false, fmt.Errorf("the key %q is damaged", k)
		}
		return true, fn(id, v)
	})
}

func decode(value []byte, v any, version *int) error {
	if err := json.Unmarshal(value, v); err != nil {
		return fmt.Errorf("decoding: %w", err)
	}
	if *version != entityVersion {
		return fmt.Errorf("an entity has format version %d and this build knows version %d", *version, entityVersion)
	}
	return nil
}

func newAccount(s *settings) *account {
	return &account{settings: s, users: map[string]*user{}, groups: map[string]*group{}, roles: map[string]*role{},
		profiles: map[string]*instanceProfile{}, providers: map[string]*oidcProvider{},
		policies: map[string]*managedPolicy{}, ids: map[string]string{}, keys: map[string]string{}, logins: map[string]string{}}
}

func (d *Directory) loadSecrets(account string, keys []accessKey) error {
	for i := range keys {
		secret, err := d.sealer.Get(d.store, secretKey(account, keys[i].ID))
		if err != nil {
			return fmt.Errorf("reading the secret of access key %s: %w", keys[i].ID, err)
		}
		keys[i].secret = string(secret)
	}
	return nil
}

func (d *Directory) loadUser(a *account, value []byte) error {
	u := &user{}
	if err := decode(value, u, &u.Version); err != nil {
		return err
	}
	if err := errors.Join(u.grants.compile(), d.loadSecrets(a.settings.ID, u.Keys)); err != nil {
		return fmt.Errorf("user %s: %w", u.Name, err)
	}
	u.tagMap = tagMap(u.Tags)
	a.users[fold(u.Name)] = u
	a.index(u)
	return nil
}

func (d *Directory) loadGroup(a *account, value []byte) error {
	g := &group{}
	if err := decode(value, g, &g.Version); err != nil {
		return err
	}
	if err := g.grants.compile(); err != nil {
		return fmt.Errorf("group %s: %w", g.Name, err)
	}
	a.groups[fold(g.Name)], a.ids[g.ID] = g, fold(g.Name)
	return nil
}

func (d *Directory) loadRole(a *account, value []byte) error {
	r := &role{}
	if err := decode(value, r, &r.Version); err != nil {
		return err
	}
	if err := r.grants.compile(); err != nil {
		return fmt.Errorf("role %s: %w", r.Name, err)
	}
	r.tagMap = tagMap(r.Tags)
	a.roles[fold(r.Name)], a.ids[r.ID] = r, fold(r.Name)
	return nil
}

func (d *Directory) loadPolicy(a *account, value []byte) error {
	p := &managedPolicy{}
	if err := decode(value, p, &p.Version); err != nil {
		return err
	}
	if err := p.compile(); err != nil {
		return fmt.Errorf("policy %s: %w", p.ARN, err)
	}
	a.policies[p.ARN] = p
	return nil
}

func loadProfile(a *account, value []byte) error {
	p := &instanceProfile{}
	if err := decode(value, p, &p.Version); err != nil {
		return err
	}
	a.profiles[fold(p.Name)] = p
	return nil
}

func loadProvider(a *account, value []byte) error {
	p := &oidcProvider{}
	if err := decode(value, p, &p.Version); err != nil {
		return err
	}
	a.providers[p.ARN] = p
	return nil
}

// index enters a user in the account's indexes.
func (a *account) index(u *user) {
	a.ids[u.ID] = fold(u.Name)
	for _, k := range u.Keys {
		a.keys[k.ID] = u.ID
	}
	for _, c := range u.Credentials {
		a.logins[c.UserName] = u.ID
	}
}

// change is one writer's next state of an account. Its writes go to the
// writer's batch; its state is published when they are durable.
type change struct {
	d     *Directory
	batch *kv.Batch
	acc   *account // the next state; fields are replaced, never changed in place
	owned struct{ users, groups, roles, policies, profiles, providers, index bool }
}

// begin takes the directory's lock for the rest of the call and returns the
// next state of the call's account, to be filled.
func (d *Directory) begin(c *call.Call) (*change, error) {
	c.Tx.Lock(&d.mu)
	acc := d.account(c.AccountID)
	if acc == nil {
		return nil, noSuchAccount(c.AccountID)
	}
	ch := &change{d: d, batch: c.Tx.Batch(), acc: &account{}}
	*ch.acc = *acc
	c.Tx.OnCommit(ch.publish)
	return ch, nil
}

// publish makes the change visible. The caller holds d.mu.
func (ch *change) publish() {
	old := ch.d.current.Load()
	next := &snapshot{version: old.version + 1, accounts: maps.Clone(old.accounts)}
	next.accounts[ch.acc.settings.ID] = ch.acc
	ch.d.current.Store(next)
}

// own makes *m safe to change: a map shared with the published snapshot is
// copied the first time.
func own[V any](m *map[string]V, owned *bool) map[string]V {
	if !*owned {
		*m, *owned = maps.Clone(*m), true
	}
	return *m
}

func (ch *change) ownIndex() {
	if !ch.owned.index {
		a := ch.acc
		a.ids, a.keys, a.logins = maps.Clone(a.ids), maps.Clone(a.keys), maps.Clone(a.logins)
		ch.owned.index = true
	}
}

func (ch *change) put(table, id string, v any) error {
	b, err := json.Marshal(v)
	if err != nil {
		return fmt.Errorf("encoding a %s: %w", table, err)
	}
	ch.batch.Set(stateKey(table, ch.acc.settings.ID, id), b)
	return nil
}

func (ch *change) drop(table, id string) { ch.batch.Delete(stateKey(table, ch.acc.settings.ID, id)) }

func (ch *change) setSettings(s *settings) error {
	s.Version = entityVersion
	ch.ownIndex()
	for _, k := range ch.acc.settings.RootKeys {
		delete(ch.acc.keys, k.ID)
	}
	for _, k := range s.RootKeys {
		ch.acc.keys[k.ID] = ""
	}
	ch.acc.settings = s
	return ch.put(tableAccount, "", s)
}

// setUser replaces old by next; either may be nil. Entities are keyed by id in
// the store, so a new name moves no row.
func (ch *change) setUser(old, next *user) error {
	users := own(&ch.acc.users, &ch.owned.users)
	ch.ownIndex()
	if old != nil {
		delete(users, fold(old.Name))
		delete(ch.acc.ids, old.ID)
		for _, k := range old.Keys {
			delete(ch.acc.keys, k.ID)
		}
		for _, c := range old.Credentials {
			delete(ch.acc.logins, c.UserName)
		}
	}
	if next == nil {
		ch.drop(tableUser, old.ID)
		return nil
	}
	next.Version, next.tagMap = entityVersion, tagMap(next.Tags)
	users[fold(next.Name)] = next
	ch.acc.index(next)
	return ch.put(tableUser, next.ID, next)
}

func (ch *change) setGroup(old, next *group) error {
	groups := own(&ch.acc.groups, &ch.owned.groups)
	ch.ownIndex()
	if old != nil {
		delete(groups, fold(old.Name))
		delete(ch.acc.ids, old.ID)
	}
	if next == nil {
		ch.drop(tableGroup, old.ID)
		return nil
	}
	next.Version = entityVersion
	groups[fold(next.Name)], ch.acc.ids[next.ID] = next, fold(next.Name)
	return ch.put(tableGroup, next.ID, next)
}

func (ch *change) setRole(old, next *role) error {
	roles := own(&ch.acc.roles, &ch.owned.roles)
	ch.ownIndex()
	if old != nil {
		delete(roles, fold(old.Name))
		delete(ch.acc.ids, old.ID)
	}
	if next == nil {
		ch.drop(tableRole, old.ID)
		return nil
	}
	next.Version, next.tagMap = entityVersion, tagMap(next.Tags)
	roles[fold(next.Name)], ch.acc.ids[next.ID] = next, fold(next.Name)
	return ch.put(tableRole, next.ID, next)
}

func (ch *change) setPolicy(old, next *managedPolicy) error {
	policies := own(&ch.acc.policies, &ch.owned.policies)
	if next == nil {
		delete(policies, old.ARN)
		ch.drop(tablePolicy, old.ID)
		return nil
	}
	next.Version = entityVersion
	policies[next.ARN] = next
	return ch.put(tablePolicy, next.ID, next)
}

func (ch *change) setProfile(old, next *instanceProfile) error {
	profiles := own(&ch.acc.profiles, &ch.owned.profiles)
	if next == nil {
		delete(profiles, fold(old.Name))
		ch.drop(tableProfile, old.ID)
		return nil
	}
	next.Version = entityVersion
	profiles[fold(next.Name)] = next
	return ch.put(tableProfile, next.ID, next)
}

func (ch *change) setProvider(old, next *oidcProvider) error {
	providers := own(&ch.acc.providers, &ch.owned.providers)
	if next == nil {
		delete(providers, old.ARN)
		ch.drop(tableProvider, old.ARN)
		return nil
	}
	next.Version = entityVersion
	providers[next.ARN] = next
	return ch.put(tableProvider, next.ARN, next)
}

// newKey makes an access key and seals its secret.
func (ch *change) newKey() accessKey {
	k := accessKey{ID: newAccessKeyID(longTermKey, ch.acc.settings.ID), Created: ch.d.wholeSecond(), secret: newSecret()}
	ch.d.sealer.Put(ch.batch, secretKey(ch.acc.settings.ID, k.ID), []byte(k.secret))
	return k
}

func (ch *change) dropKey(id string) {
	ch.batch.Delete(secretKey(ch.acc.settings.ID, id))
	ch.batch.Delete(stateKey(tableLastUsed, ch.acc.settings.ID, id))
}
