/* A reader of JSON, strict: what RFC 8259 doesn't allow is refused. By recursive descent over the bytes, bounded in depth;
 * values are made in the call's memory, and strings without escapes stay where they are. */

#include <string.h>

#include "internal.h"

typedef struct {
    const unsigned char *bytes;
    size_t len;
    size_t at;
    unsigned depth;
    /* The first thing that is wrong. */
    const char *problem;
} reader;

static bool value(reader *in, wk_json *out);

/* Always false, so that it is what a function answers. */
static bool wrong(reader *in, const char *problem)
{
    if (!in->problem)
        in->problem = in->at >= in->len ? "it ends too early" : problem;
    return false;
}

/* The byte that is next; 0, which is no byte of JSON, at the end. */
static unsigned char peek(const reader *in)
{
    return in->at < in->len ? in->bytes[in->at] : 0;
}

static void skip_space(reader *in)
{
    while (peek(in) == ' ' || peek(in) == '\t' || peek(in) == '\n' || peek(in) == '\r')
        in->at++;
}

static bool word(reader *in, const char *expected)
{
    size_t len = strlen(expected);
    if (in->len - in->at < len || memcmp(in->bytes + in->at, expected, len) != 0)
        return wrong(in, "no value begins like this");
    in->at += len;
    return true;
}

static bool is_digit(unsigned char c)
{
    return c >= '0' && c <= '9';
}

static bool digits(reader *in)
{
    if (!is_digit(peek(in)))
        return wrong(in, "a digit is missing");
    while (is_digit(peek(in)))
        in->at++;
    return true;
}

static bool number(reader *in, wk_json *out)
{
    size_t begin = in->at;
    if (peek(in) == '-')
        in->at++;
    if (peek(in) == '0')
        in->at++; /* and no digit may follow */
    else if (!digits(in))
        return false;
    if (peek(in) == '.') {
        in->at++;
        if (!digits(in))
            return false;
    }
    if (peek(in) == 'e' || peek(in) == 'E') {
        in->at++;
        if (peek(in) == '+' || peek(in) == '-')
            in->at++;
        if (!digits(in))
            return false;
    }
    if (is_digit(peek(in)))
        return wrong(in, "a number begins with 0");
    out->kind = WK_NUMBER;
    out->text = (wk_text){ (const char *)in->bytes + begin, in->at - begin };
    return true;
}

static bool hex4(reader *in, unsigned *unit)
{
    *unit = 0;
    for (int i = 0; i < 4; i++, in->at++) {
        unsigned char c = peek(in);
        unsigned digit;
        if (is_digit(c))
            digit = c - '0';
        else if (c >= 'a' && c <= 'f')
            digit = c - 'a' + 10;
        else if (c >= 'A' && c <= 'F')
            digit = c - 'A' + 10;
        else
            return wrong(in, "\\u wants four hexadecimal digits");
        *unit = *unit * 16 + digit;
    }
    return true;
}

/* Behind `\u`: one code point, of a pair of surrogates where it takes two. */
static bool code_point(reader *in, unsigned *point)
{
    if (!hex4(in, point))
        return false;
    if (*point < 0xd800 || *point > 0xdfff)
        return true;
    unsigned low;
    if (*point > 0xdbff || peek(in) != '\\' || in->at + 1 >= in->len || in->bytes[in->at + 1] != 'u')
        return wrong(in, "a surrogate is alone");
    in->at += 2;
    if (!hex4(in, &low))
        return false;
    if (low < 0xdc00 || low > 0xdfff)
        return wrong(in, "a surrogate is alone");
    *point = 0x10000 + ((*point - 0xd800) << 10) + (low - 0xdc00);
    return true;
}

static size_t encode(unsigned point, char *out)
{
    if (point < 0x80) {
        out[0] = (char)point;
        return 1;
    }
    if (point < 0x800) {
        out[0] = (char)(0xc0 | point >> 6);
        out[1] = (char)(0x80 | (point & 0x3f));
        return 2;
    }
    if (point < 0x10000) {
        out[0] = (char)(0xe0 | point >> 12);
        out[1] = (char)(0x80 | (point >> 6 & 0x3f));
        out[2] = (char)(0x80 | (point & 0x3f));
        return 3;
    }
    out[0] = (char)(0xf0 | point >> 18);
    out[1] = (char)(0x80 | (point >> 12 & 0x3f));
    out[2] = (char)(0x80 | (point >> 6 & 0x3f));
    out[3] = (char)(0x80 | (point & 0x3f));
    return 4;
}

/* How many bytes the character has that begins here; 0 where it is no UTF-8: cut, overlong, a surrogate, too high. */
static size_t character(const unsigned char *at, size_t left)
{
    if (at[0] < 0x80)
        return 1;
    size_t len = at[0] >= 0xf0 ? 4 : at[0] >= 0xe0 ? 3 : 2;
    if (at[0] < 0xc2 || at[0] > 0xf4 || left < len)
        return 0;
    for (size_t i = 1; i < len; i++)
        if ((at[i] & 0xc0) != 0x80)
            return 0;
    bool overlong = (at[0] == 0xe0 && at[1] < 0xa0) || (at[0] == 0xf0 && at[1] < 0x90);
    bool surrogate = at[0] == 0xed && at[1] > 0x9f;
    bool too_high = at[0] == 0xf4 && at[1] > 0x8f;
    return overlong || surrogate || too_high ? 0 : len;
}

size_t wk_valid_utf8(wk_text text)
{
    size_t at = 0;
    while (at < text.len) {
        size_t len = character((const unsigned char *)text.ptr + at, text.len - at);
        if (len == 0)
            break;
        at += len;
    }
    return at;
}

/* Where the string that begins here ends: the place of its closing quote. */
static bool find_end(reader *in, size_t *end, bool *escaped)
{
    size_t begin = in->at;
    *escaped = false;
    while (peek(in) != '"') {
        if (in->at >= in->len)
            return wrong(in, "");
        if (peek(in) < 0x20)
            return wrong(in, "a control character in a string");
        if (peek(in) == '\\') {
            *escaped = true;
            in->at++;
        }
        if (in->at >= in->len)
            return wrong(in, "");
        size_t len = character(in->bytes + in->at, in->len - in->at);
        if (len == 0) {
            in->problem = "not UTF-8";
            return false;
        }
        in->at += len;
    }
    *end = in->at;
    in->at = begin;
    return true;
}

static bool escape(reader *in, char *out, size_t *len)
{
    static const char names[] = "\"\\/bfnrt";
    static const char meanings[] = "\"\\/\b\f\n\r\t";
    unsigned char name = peek(in);
    in->at++;
    if (name == 'u') {
        unsigned point;
        if (!code_point(in, &point))
            return false;
        *len += encode(point, out + *len);
        return true;
    }
    const char *known = name ? strchr(names, name) : NULL;
    if (!known)
        return wrong(in, "no such escape");
    out[(*len)++] = meanings[known - names];
    return true;
}

static bool string(reader *in, wk_text *out)
{
    if (peek(in) != '"')
        return wrong(in, "a string is missing");
    in->at++;
    size_t end;
    bool escaped;
    if (!find_end(in, &end, &escaped))
        return false;
    if (!escaped) {
        *out = (wk_text){ (const char *)in->bytes + in->at, end - in->at };
        in->at = end + 1;
        return true;
    }
    /* No escape is shorter than what it stands for. */
    char *text = wk_alloc(end - in->at);
    size_t len = 0;
    while (in->at < end) {
        unsigned char c = in->bytes[in->at++];
        if (c != '\\')
            text[len++] = (char)c;
        else if (!escape(in, text, &len))
            return false;
    }
    *out = (wk_text){ text, len };
    in->at = end + 1;
    return true;
}

/* `,` or the closing bracket, which ends the loop of the caller. */
static bool separator(reader *in, unsigned char close, bool *more)
{
    skip_space(in);
    *more = peek(in) == ',';
    if (!*more && peek(in) != close)
        return wrong(in, "`,` or a closing bracket is missing");
    in->at++;
    return true;
}

static bool list(reader *in, wk_json *out)
{
    size_t room = 0;
    out->kind = WK_LIST;
    skip_space(in);
    bool more = peek(in) != ']';
    if (!more)
        in->at++;
    while (more) {
        out->items = wk_grow(out->items, out->count, &room, sizeof(wk_json));
        wk_json *item = &out->items[out->count++];
        *item = (wk_json){ 0 };
        if (!value(in, item) || !separator(in, ']', &more))
            return false;
    }
    return true;
}

/* The place for a key's value: that of the same key, if it was there before. */
static wk_json *place(wk_json *object, wk_text key, size_t *items_room, size_t *keys_room)
{
    /* Objects of senders are small; a big one isn't searched, for that would be quadratic: its keys may come twice. */
    size_t searched = object->count <= 256 ? object->count : 0;
    for (size_t i = 0; i < searched; i++)
        if (wk_same(object->keys[i], key))
            return &object->items[i];
    object->items = wk_grow(object->items, object->count, items_room, sizeof(wk_json));
    object->keys = wk_grow(object->keys, object->count, keys_room, sizeof(wk_text));
    object->keys[object->count] = key;
    return &object->items[object->count++];
}

static bool object(reader *in, wk_json *out)
{
    size_t items_room = 0;
    size_t keys_room = 0;
    out->kind = WK_OBJECT;
    skip_space(in);
    bool more = peek(in) != '}';
    if (!more)
        in->at++;
    while (more) {
        wk_text key;
        skip_space(in);
        if (!string(in, &key))
            return false;
        skip_space(in);
        if (peek(in) != ':')
            return wrong(in, "`:` is missing");
        in->at++;
        wk_json *item = place(out, key, &items_room, &keys_room);
        *item = (wk_json){ 0 };
        if (!value(in, item) || !separator(in, '}', &more))
            return false;
    }
    return true;
}

static bool nested(reader *in, wk_json *out, bool (*read)(reader *, wk_json *))
{
    if (in->depth == WK_JSON_DEPTH)
        return wrong(in, "nested too deep");
    in->at++;
    in->depth++;
    bool well = read(in, out);
    in->depth--;
    return well;
}

static bool value(reader *in, wk_json *out)
{
    skip_space(in);
    switch (peek(in)) {
    case '{':
        return nested(in, out, object);
    case '[':
        return nested(in, out, list);
    case '"':
        out->kind = WK_STRING;
        return string(in, &out->text);
    case 't':
        out->kind = WK_BOOL;
        out->boolean = true;
        return word(in, "true");
    case 'f':
        out->kind = WK_BOOL;
        return word(in, "false");
    case 'n':
        return word(in, "null");
    default:
        if (peek(in) == '-' || is_digit(peek(in)))
            return number(in, out);
        return wrong(in, "no value begins like this");
    }
}

const wk_json *wk_json_read(wk_text bytes, wk_text *problem)
{
    reader in = { .bytes = (const unsigned char *)bytes.ptr, .len = bytes.len };
    wk_json *read = wk_alloc(sizeof(wk_json));
    bool well = value(&in, read);
    skip_space(&in);
    if (well && in.at < in.len)
        well = wrong(&in, "something follows the value");
    if (well)
        return read;
    *problem = wk_join(wk_from_cstr(in.problem), WK(" (byte "), wk_number((int64_t)in.at), WK(")"));
    return NULL;
}

const wk_json *wk_json_get(const wk_json *from, wk_text key)
{
    if (!from || from->kind != WK_OBJECT)
        return NULL;
    /* From behind: of a key that comes twice the last counts. */
    for (size_t i = from->count; i-- > 0;)
        if (wk_same(from->keys[i], key))
            return &from->items[i];
    return NULL;
}

wk_text wk_json_text(const wk_json *from)
{
    return from && from->kind == WK_STRING ? from->text : (wk_text){ 0 };
}

bool wk_json_whole(const wk_json *from, int64_t *number)
{
    if (!from || from->kind != WK_NUMBER)
        return false;
    bool negative = from->text.ptr[0] == '-';
    int64_t total = 0;
    for (size_t i = negative; i < from->text.len; i++) {
        if (!is_digit((unsigned char)from->text.ptr[i]))
            return false;
        int digit = from->text.ptr[i] - '0';
        /* Downwards, for the least number has no opposite. */
        if (__builtin_mul_overflow(total, 10, &total) || __builtin_sub_overflow(total, digit, &total))
            return false;
    }
    if (!negative && total == INT64_MIN)
        return false;
    *number = negative ? total : -total;
    return true;
}
