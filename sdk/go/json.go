package watchkeeper

import (
	"bytes"
	"encoding/json"
	"errors"
	"unicode/utf8"
)

// Object is a JSON object whose keys keep their order. Of a key that comes twice, the last value counts, at the first's
// place.
type Object struct {
	Keys   []string
	Values map[string]any
}

// Get answers a key's value; nil where value is no Object or has no such key.
func Get(value any, key string) any {
	if object, ok := value.(*Object); ok {
		return object.Values[key]
	}
	return nil
}

// depth is how deep lists and objects may be nested.
const depth = 128

// ReadJSON reads RFC 8259 text: nil, bool, json.Number, string, []any and *Object. Unlike json.Unmarshal it keeps the order
// of keys, tells `id` from `ID`, and refuses what is no UTF-8. The error is an invalid payload's, and begins with "not JSON".
func ReadJSON(text []byte) (any, error) {
	value, err := readJSON(text)
	if err != nil {
		return nil, InvalidPayload("not JSON: %v", err)
	}
	return value, nil
}

func readJSON(text []byte) (any, error) {
	if !utf8.Valid(text) {
		return nil, errors.New("it isn't UTF-8")
	}
	// Before Go's own reader, which would go down ten thousand levels, and run out of stack on the way.
	if levels(text) > depth {
		return nil, errors.New("it is nested too deep")
	}
	var whole json.RawMessage
	if err := json.Unmarshal(text, &whole); err != nil {
		return nil, err
	}
	decoder := json.NewDecoder(bytes.NewReader(text))
	decoder.UseNumber()
	return read(decoder)
}

// levels counts how deep brackets are nested, those in strings left out.
func levels(text []byte) int {
	level, deepest := 0, 0
	quoted := false
	for i := 0; i < len(text); i++ {
		switch {
		case quoted && text[i] == '\\':
			i++
		case text[i] == '"':
			quoted = !quoted
		case quoted:
		case text[i] == '[' || text[i] == '{':
			level++
			deepest = max(deepest, level)
		case text[i] == ']' || text[i] == '}':
			level--
		}
	}
	return deepest
}

func read(decoder *json.Decoder) (any, error) {
	token, err := decoder.Token()
	if err != nil {
		return nil, err
	}
	delimiter, ok := token.(json.Delim)
	if !ok {
		return token, nil
	}
	if delimiter == '[' {
		return readList(decoder)
	}
	return readObject(decoder)
}

func readList(decoder *json.Decoder) (any, error) {
	list := []any{}
	for decoder.More() {
		item, err := read(decoder)
		if err != nil {
			return nil, err
		}
		list = append(list, item)
	}
	_, err := decoder.Token()
	return list, err
}

func readObject(decoder *json.Decoder) (any, error) {
	object := &Object{Values: map[string]any{}}
	for decoder.More() {
		token, err := decoder.Token()
		if err != nil {
			return nil, err
		}
		key, _ := token.(string)
		value, err := read(decoder)
		if err != nil {
			return nil, err
		}
		if _, known := object.Values[key]; !known {
			object.Keys = append(object.Keys, key)
		}
		object.Values[key] = value
	}
	_, err := decoder.Token()
	return object, err
}
