package watchkeeper

import (
	"encoding/json"
	"reflect"
	"sort"
	"strings"
)

// ReadConfig reads the keys of a source's file into the struct that config points to; what it holds before are the
// defaults. Keys are those of the fields' json tags, exactly. A key that isn't there is refused by name.
func ReadConfig(text []byte, config any) error {
	var values map[string]json.RawMessage
	if err := json.Unmarshal(text, &values); err != nil {
		return InvalidConfig("", "must be an object of keys and values")
	}
	target := reflect.ValueOf(config).Elem()
	fields := map[string]reflect.Value{}
	var known []string
	for i := range target.NumField() {
		key, _, _ := strings.Cut(target.Type().Field(i).Tag.Get("json"), ",")
		if key != "" && key != "-" {
			fields[key] = target.Field(i)
			known = append(known, key)
		}
	}
	keys := make([]string, 0, len(values))
	for key := range values {
		keys = append(keys, key)
	}
	sort.Strings(keys)
	for _, key := range keys {
		field, ok := fields[key]
		if !ok {
			return InvalidConfig(key, "unknown key; known keys: %s", strings.Join(known, ", "))
		}
		if err := json.Unmarshal(values[key], field.Addr().Interface()); err != nil {
			return InvalidConfig(key, "%s", strings.TrimPrefix(err.Error(), "json: "))
		}
	}
	return nil
}
