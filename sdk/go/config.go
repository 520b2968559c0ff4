package watchkeeper

import (
	"encoding/json"
	"fmt"
	"reflect"
	"slices"
	"strconv"
	"strings"
)

// ReadConfig reads the keys of a source's file into the struct that config points to; what it holds before are the
// defaults. Keys are those of the fields' json tags, exactly, also in structs that are nested. A key that isn't known is refused
// by name, one of another type, and one that is missing where the tag says so: `json:"url,required"`. A null is as good as nothing.
func ReadConfig(text []byte, config any) error {
	values, err := readJSON(text)
	if err != nil {
		return InvalidConfig("", "not JSON: %v", err)
	}
	object, ok := values.(*Object)
	if !ok {
		return InvalidConfig("", "must be an object of keys and values")
	}
	return configStruct(object, reflect.ValueOf(config).Elem(), "")
}

// A configField is one of a struct that has a key.
type configField struct {
	key      string
	required bool
	value    reflect.Value
}

func configStruct(object *Object, target reflect.Value, above string) error {
	fields := configFields(target)
	for _, key := range object.Keys {
		if !slices.ContainsFunc(fields, func(field configField) bool { return field.key == key }) {
			return InvalidConfig(above+key, "unknown key; %s", knownKeys(fields))
		}
	}
	for _, field := range fields {
		value := object.Values[field.key]
		switch {
		case value == nil && field.required:
			return InvalidConfig(above+field.key, "missing; it has no default")
		case value == nil:
			continue
		}
		if err := configValue(value, field.value, above+field.key); err != nil {
			return err
		}
	}
	return nil
}

func configFields(target reflect.Value) []configField {
	var fields []configField
	for i := range target.NumField() {
		key, options, _ := strings.Cut(target.Type().Field(i).Tag.Get("json"), ",")
		if key != "" && key != "-" {
			required := slices.Contains(strings.Split(options, ","), "required")
			fields = append(fields, configField{key, required, target.Field(i)})
		}
	}
	return fields
}

func knownKeys(fields []configField) string {
	if len(fields) == 0 {
		return "this plugin has none"
	}
	keys := make([]string, len(fields))
	for i, field := range fields {
		keys[i] = field.key
	}
	return "known keys: " + strings.Join(keys, ", ")
}

func configValue(value any, target reflect.Value, key string) error {
	if own, ok := target.Addr().Interface().(json.Unmarshaler); ok {
		if err := own.UnmarshalJSON([]byte(jsonText(value))); err != nil {
			return InvalidConfig(key, "%v", err)
		}
		return nil
	}
	switch given := value.(type) {
	case string:
		if target.Kind() == reflect.String {
			target.SetString(given)
			return nil
		}
	case bool:
		if target.Kind() == reflect.Bool {
			target.SetBool(given)
			return nil
		}
	case json.Number:
		if setNumber(string(given), target) {
			return nil
		}
	case []any:
		if target.Kind() == reflect.Slice {
			return configList(given, target, key)
		}
	case *Object:
		if target.Kind() == reflect.Struct {
			return configStruct(given, target, key+".")
		}
		if target.Kind() == reflect.Map && target.Type().Key().Kind() == reflect.String {
			return configMap(given, target, key)
		}
	}
	switch target.Kind() {
	case reflect.Pointer:
		pointed := reflect.New(target.Type().Elem())
		target.Set(pointed)
		return configValue(value, pointed.Elem(), key)
	case reflect.Interface:
		if value != nil {
			target.Set(reflect.ValueOf(value))
		}
		return nil
	}
	return InvalidConfig(key, "must be %s, not `%s`", inWords(target.Kind()), jsonText(value))
}

func setNumber(number string, target reflect.Value) bool {
	switch {
	case target.CanInt():
		whole, err := strconv.ParseInt(number, 10, 64)
		if err != nil || target.OverflowInt(whole) {
			return false
		}
		target.SetInt(whole)
	case target.CanUint():
		whole, err := strconv.ParseUint(number, 10, 64)
		if err != nil || target.OverflowUint(whole) {
			return false
		}
		target.SetUint(whole)
	case target.CanFloat():
		float, err := strconv.ParseFloat(number, 64)
		if err != nil || target.OverflowFloat(float) {
			return false
		}
		target.SetFloat(float)
	default:
		return false
	}
	return true
}

func configList(list []any, target reflect.Value, key string) error {
	target.Set(reflect.MakeSlice(target.Type(), len(list), len(list)))
	for i, item := range list {
		if err := configValue(item, target.Index(i), fmt.Sprintf("%s[%d]", key, i)); err != nil {
			return err
		}
	}
	return nil
}

func configMap(object *Object, target reflect.Value, key string) error {
	target.Set(reflect.MakeMap(target.Type()))
	for _, name := range object.Keys {
		item := reflect.New(target.Type().Elem()).Elem()
		if err := configValue(object.Values[name], item, key+"."+name); err != nil {
			return err
		}
		target.SetMapIndex(reflect.ValueOf(name).Convert(target.Type().Key()), item)
	}
	return nil
}

func inWords(kind reflect.Kind) string {
	switch kind {
	case reflect.String:
		return "a text"
	case reflect.Bool:
		return "true or false"
	case reflect.Float32, reflect.Float64:
		return "a number"
	case reflect.Slice, reflect.Array:
		return "a list"
	case reflect.Struct, reflect.Map:
		return "an object of keys and values"
	case reflect.Uint, reflect.Uint8, reflect.Uint16, reflect.Uint32, reflect.Uint64:
		return "a whole number, 0 or more"
	default:
		return "a whole number"
	}
}

// jsonText is what ReadJSON read, as JSON.
func jsonText(value any) string {
	switch value := value.(type) {
	case []any:
		items := make([]string, len(value))
		for i, item := range value {
			items[i] = jsonText(item)
		}
		return "[" + strings.Join(items, ",") + "]"
	case *Object:
		items := make([]string, len(value.Keys))
		for i, key := range value.Keys {
			items[i] = jsonText(key) + ":" + jsonText(value.Values[key])
		}
		return "{" + strings.Join(items, ",") + "}"
	default:
		text, err := json.Marshal(value)
		if err != nil {
			return err.Error()
		}
		return string(text)
	}
}
