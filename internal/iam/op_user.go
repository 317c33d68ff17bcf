package iam

import (
	"strings"

	sdk "github.com/aws/aws-sdk-go-v2/service/iam"
	"github.com/aws/aws-sdk-go-v2/service/iam/types"

	"spoor/internal/aws"
	"spoor/internal/call"
)

func (s *api) userOperations() []call.Operation {
	return []call.Operation{
		op("CreateUser", func(c *call.Call, in *sdk.CreateUserInput) target {
			return onPath(c, "user", in.Path, str(in.UserName)).requestTags(in.Tags).boundary(in.PermissionsBoundary)
		}, s.createUser),
		op("GetUser", func(c *call.Call, in *sdk.GetUserInput) target { return s.onUser(c, in.UserName) }, s.getUser, call.ReadOnly),
		op("ListUsers", func(c *call.Call, in *sdk.ListUsersInput) target { return onPath(c, "user", in.PathPrefix, "") }, s.listUsers, call.ReadOnly),
		opEach("UpdateUser", s.mayRenameUser, s.updateUser),
		op("DeleteUser", func(c *call.Call, in *sdk.DeleteUserInput) target { return s.onUser(c, in.UserName) }, s.deleteUser),
		op("TagUser", func(c *call.Call, in *sdk.TagUserInput) target { return s.onUser(c, in.UserName).requestTags(in.Tags) }, s.tagUser),
		op("UntagUser", func(c *call.Call, in *sdk.UntagUserInput) target {
			return s.onUser(c, in.UserName).with("aws:TagKeys", in.TagKeys...)
		}, s.untagUser),
		op("ListUserTags", func(c *call.Call, in *sdk.ListUserTagsInput) target { return s.onUser(c, in.UserName) }, s.listUserTags, call.ReadOnly),
		op("PutUserPermissionsBoundary", func(c *call.Call, in *sdk.PutUserPermissionsBoundaryInput) target {
			return s.onUser(c, in.UserName).boundary(in.PermissionsBoundary)
		}, s.putUserBoundary),
		op("DeleteUserPermissionsBoundary", func(c *call.Call, in *sdk.DeleteUserPermissionsBoundaryInput) target {
			return s.onUser(c, in.UserName)
		}, s.deleteUserBoundary),
	}
}

// mayRenameUser: a new name or path needs the permission on both what the user
// is and what it becomes (IAM API, UpdateUser).
func (s *api) mayRenameUser(c *call.Call, in *sdk.UpdateUserInput) []call.Permission {
	from := s.onUser(c, in.UserName)
	perms := []call.Permission{from.action("iam:UpdateUser")}
	if to := renamed(from.arn, in.NewPath, in.NewUserName); to != from.arn {
		perms = append(perms, target{arn: to}.action("iam:UpdateUser"))
	}
	return perms
}

// renamed is an entity's ARN with another path or name.
func renamed(arn string, path, name *string) string {
	head, rest, _ := strings.Cut(arn, "/")
	i := strings.LastIndexByte(rest, '/') + 1
	p, n := "/"+rest[:i], rest[i:]
	if str(path) != "" {
		p = *path
	}
	if str(name) != "" {
		n = *name
	}
	return head + p + n
}

// sdkUser is a user as GetUser shows it; lists leave tags and boundary out.
func (a *account) sdkUser(u *user) *types.User {
	out := a.listedUser(u)
	out.Tags, out.PermissionsBoundary = tagsOf(u.Tags), boundaryOf(u.Boundary)
	return &out
}

func (a *account) listedUser(u *user) types.User {
	out := types.User{Arn: new(a.userARN(u)), CreateDate: new(u.Created), Path: new(u.Path), UserId: new(u.ID), UserName: new(u.Name)}
	if !u.PasswordLastUsed.IsZero() {
		out.PasswordLastUsed = new(u.PasswordLastUsed)
	}
	return out
}

func (s *api) createUser(c *call.Call, in *sdk.CreateUserInput) (*sdk.CreateUserOutput, error) {
	ch, err := s.d.begin(c)
	if err != nil {
		return nil, err
	}
	name := str(in.UserName)
	if ch.acc.users[fold(name)] != nil {
		return nil, alreadyExists("User with name %s already exists.", name)
	}
	if err := quota(len(ch.acc.users), maxUsers, "UsersPerAccount"); err != nil {
		return nil, err
	}
	u := &user{ID: newID(prefixUser), Name: name, Path: pathOr(in.Path), Created: s.d.wholeSecond()}
	if u.Tags, err = setTags(nil, in.Tags); err != nil {
		return nil, err
	}
	if u.Boundary, err = s.boundary(ch.acc, in.PermissionsBoundary); err != nil {
		return nil, err
	}
	if err := ch.setUser(nil, u); err != nil {
		return nil, err
	}
	return &sdk.CreateUserOutput{User: ch.acc.sdkUser(u)}, nil
}

func (s *api) getUser(c *call.Call, in *sdk.GetUserInput) (*sdk.GetUserOutput, error) {
	a, err := s.account(c)
	if err != nil {
		return nil, err
	}
	if str(in.UserName) == "" && c.Caller.Type == aws.Root {
		return &sdk.GetUserOutput{User: &types.User{Arn: new(a.rootARN()), UserId: new(a.settings.ID), CreateDate: new(a.settings.Created), Path: new("/"),
			UserName: optional(a.settings.Alias)}}, nil
	}
	u, err := findUser(a, c, in.UserName)
	if err != nil {
		return nil, err
	}
	return &sdk.GetUserOutput{User: a.sdkUser(u)}, nil
}

func (s *api) listUsers(c *call.Call, in *sdk.ListUsersInput) (*sdk.ListUsersOutput, error) {
	a, err := s.account(c)
	if err != nil {
		return nil, err
	}
	all := byName(a.users, in.PathPrefix, func(u *user) string { return u.Path })
	part, next, err := page(all, in.Marker, in.MaxItems, func(u *user) string { return fold(u.Name) })
	if err != nil {
		return nil, err
	}
	return &sdk.ListUsersOutput{Users: convert(part, a.listedUser), IsTruncated: next != nil, Marker: next}, nil
}

// changeUser runs fn on a copy of a user and keeps it.
func (s *api) changeUser(c *call.Call, name *string, fn func(ch *change, u *user) error) error {
	ch, err := s.d.begin(c)
	if err != nil {
		return err
	}
	old, err := findUser(ch.acc, c, name)
	if err != nil {
		return err
	}
	u := old.copy()
	if err := fn(ch, u); err != nil {
		return err
	}
	return ch.setUser(old, u)
}

func (s *api) updateUser(c *call.Call, in *sdk.UpdateUserInput) (*sdk.UpdateUserOutput, error) {
	err := s.changeUser(c, in.UserName, func(ch *change, u *user) error {
		if n := str(in.NewUserName); n != "" {
			if other := ch.acc.users[fold(n)]; other != nil && other.ID != u.ID {
				return alreadyExists("User with name %s already exists.", n)
			}
			u.Name = n
		}
		if p := str(in.NewPath); p != "" {
			u.Path = p
		}
		return nil
	})
	return &sdk.UpdateUserOutput{}, err
}

func (s *api) deleteUser(c *call.Call, in *sdk.DeleteUserInput) (*sdk.DeleteUserOutput, error) {
	ch, err := s.d.begin(c)
	if err != nil {
		return nil, err
	}
	u, err := findUser(ch.acc, c, in.UserName)
	if err != nil {
		return nil, err
	}
	switch {
	case len(u.Groups) > 0:
		return nil, deleteConflict("Cannot delete entity, must remove users from group first.")
	case u.Login != nil:
		return nil, deleteConflict("Cannot delete entity, must delete login profile first.")
	case len(u.Keys) > 0:
		return nil, deleteConflict("Cannot delete entity, must delete access keys first.")
	case len(u.Credentials) > 0:
		return nil, deleteConflict("Cannot delete entity, must delete service specific credentials first.")
	case len(u.Inline) > 0:
		return nil, deleteConflict("Cannot delete entity, must delete policies first.")
	case len(u.Attached) > 0:
		return nil, deleteConflict("Cannot delete entity, must detach all policies first.")
	}
	return &sdk.DeleteUserOutput{}, ch.setUser(u, nil)
}

func (s *api) tagUser(c *call.Call, in *sdk.TagUserInput) (*sdk.TagUserOutput, error) {
	err := s.changeUser(c, in.UserName, func(_ *change, u *user) (err error) {
		u.Tags, err = setTags(u.Tags, in.Tags)
		return err
	})
	return &sdk.TagUserOutput{}, err
}

func (s *api) untagUser(c *call.Call, in *sdk.UntagUserInput) (*sdk.UntagUserOutput, error) {
	err := s.changeUser(c, in.UserName, func(_ *change, u *user) error {
		u.Tags = dropTags(u.Tags, in.TagKeys)
		return nil
	})
	return &sdk.UntagUserOutput{}, err
}

func (s *api) listUserTags(c *call.Call, in *sdk.ListUserTagsInput) (*sdk.ListUserTagsOutput, error) {
	a, err := s.account(c)
	if err != nil {
		return nil, err
	}
	u, err := findUser(a, c, in.UserName)
	if err != nil {
		return nil, err
	}
	part, next, err := pageTags(u.Tags, in.Marker, in.MaxItems)
	return &sdk.ListUserTagsOutput{Tags: tagList(part), IsTruncated: next != nil, Marker: next}, err
}

func (s *api) putUserBoundary(c *call.Call, in *sdk.PutUserPermissionsBoundaryInput) (*sdk.PutUserPermissionsBoundaryOutput, error) {
	err := s.changeUser(c, in.UserName, func(ch *change, u *user) (err error) {
		u.Boundary, err = s.boundary(ch.acc, in.PermissionsBoundary)
		return err
	})
	return &sdk.PutUserPermissionsBoundaryOutput{}, err
}

func (s *api) deleteUserBoundary(c *call.Call, in *sdk.DeleteUserPermissionsBoundaryInput) (*sdk.DeleteUserPermissionsBoundaryOutput, error) {
	err := s.changeUser(c, in.UserName, func(_ *change, u *user) error {
		if u.Boundary == "" {
			return noSuchEntity("Scope policy for user %s cannot be found.", u.Name)
		}
		u.Boundary = ""
		return nil
	})
	return &sdk.DeleteUserPermissionsBoundaryOutput{}, err
}
