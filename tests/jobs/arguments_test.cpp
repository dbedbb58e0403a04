#include "dagverk/jobs/arguments.hpp"

#include <gtest/gtest.h>
#include <rapidcheck/gtest.h>

#include <cmath>

namespace dagverk::jobs {

/// A type of a user, built out of the codecs that exist.
struct Point {
  int x = 0;
  int y = 0;
  friend bool operator==(const Point&, const Point&) = default;
};

template <>
struct ArgumentCodec<Point> {
  static Result<Point> read(std::string_view json) {
    const auto numbers = ArgumentCodec<std::vector<int>>::read(json);
    if (!numbers) return numbers.error();
    if (numbers->size() != 2) return Error{ErrorCode::invalid_argument, "expected two numbers"};
    return Point{(*numbers)[0], (*numbers)[1]};
  }
  static Result<void> write(std::string& out, const Point& value) {
    return ArgumentCodec<std::vector<int>>::write(out, {value.x, value.y});
  }
};

namespace {

template <class T>
std::string error_of(std::string_view json) {
  const auto parsed = parse_arguments<T>(json, "Resize");
  if (parsed) return "accepted";
  EXPECT_EQ(parsed.error().code(), ErrorCode::invalid_argument);
  return std::string(parsed.error().message());
}

template <class T>
T value_of(std::string_view json) {
  auto parsed = parse_arguments<T>(json);
  if (!parsed) throw std::runtime_error(std::string(parsed.error().message()));
  return std::move(std::get<0>(*parsed));
}

TEST(Arguments, several_types_are_converted_at_once) {
  const auto parsed = parse_arguments<std::string, int, bool, double, std::vector<std::uint8_t>, std::optional<int>,
                                      RawJson, std::map<std::string, std::vector<int>>>(
      R"(["cat \u00fc.jpg", -640, true, 1.5e3, [0,255], null, { "raw" : [ 1e400 ] }, {"a":[1],"b":[],"a":[2,3]}])",
      "Resize");
  ASSERT_TRUE(parsed) << parsed.error().message();
  const auto& [name, width, flag, factor, bytes, nothing, raw, map] = *parsed;
  EXPECT_EQ(name, "cat ü.jpg");
  EXPECT_EQ(width, -640);
  EXPECT_TRUE(flag);
  EXPECT_EQ(factor, 1500.0);
  EXPECT_EQ(bytes, (std::vector<std::uint8_t>{0, 255}));
  EXPECT_EQ(nothing, std::nullopt);
  EXPECT_EQ(raw.text, R"({ "raw" : [ 1e400 ] })");
  EXPECT_EQ(map, (std::map<std::string, std::vector<int>>{{"a", {2, 3}}, {"b", {}}}));
}

TEST(Arguments, errors_name_the_argument_what_was_expected_and_what_came) {
  const auto two = parse_arguments<std::string, int>(R"(["x","12"])", "Resize");
  ASSERT_FALSE(two);
  EXPECT_EQ(two.error().message(), R"(argument 2 of Resize: expected an integer, got "12")");
  EXPECT_EQ(error_of<int>("[12.0]"), "argument 1 of Resize: expected an integer, got 12.0");
  EXPECT_EQ(error_of<int>("[1e3]"), "argument 1 of Resize: expected an integer, got 1e3");
  EXPECT_EQ(error_of<int>("[null]"), "argument 1 of Resize: expected an integer, got null");
  EXPECT_EQ(error_of<std::uint8_t>("[256]"), "argument 1 of Resize: expected an integer from 0 to 255, got 256");
  EXPECT_EQ(error_of<std::int8_t>("[-129]"), "argument 1 of Resize: expected an integer from -128 to 127, got -129");
  EXPECT_EQ(error_of<unsigned>("[-1]"), "argument 1 of Resize: expected an integer from 0 to 4294967295, got -1");
  EXPECT_EQ(error_of<bool>("[1]"), "argument 1 of Resize: expected true or false, got 1");
  EXPECT_EQ(error_of<double>("[\"1\"]"), "argument 1 of Resize: expected a number, got \"1\"");
  EXPECT_EQ(error_of<double>("[1e400]"), "argument 1 of Resize: expected a number that fits, got 1e400");
  EXPECT_EQ(error_of<float>("[1e300]"), "argument 1 of Resize: expected a number that fits, got 1e300");
  EXPECT_EQ(error_of<std::string>("[[]]"), "argument 1 of Resize: expected a string, got []");
  EXPECT_EQ(error_of<std::string>(R"(["\ud800"])"),
            R"(argument 1 of Resize: expected a string of valid Unicode, got "\ud800")");
  EXPECT_EQ(error_of<std::string>("[\"\xff\"]"), "argument 1 of Resize: expected a string of valid Unicode, got \"?\"");
  EXPECT_EQ(error_of<std::vector<int>>("[[1,[2]]]"), "argument 1 of Resize: element 2: expected an integer, got [2]");
  EXPECT_EQ(error_of<std::vector<int>>("[{}]"), "argument 1 of Resize: expected an array, got {}");
  EXPECT_EQ((error_of<std::map<std::string, std::vector<bool>>>(R"([{"a":[true,0]}])")),
            "argument 1 of Resize: member \"a\": element 2: expected true or false, got 0");
  EXPECT_EQ((error_of<std::map<std::string, int>>("[7]")), "argument 1 of Resize: expected an object, got 7");
  const std::string long_text = "[\"" + std::string(5000, 'x') + "\"]";
  EXPECT_LT(error_of<int>(long_text).size(), 130U);
}

TEST(Arguments, the_number_of_arguments_must_match) {
  EXPECT_EQ(error_of<int>("[]"), "Resize takes 1 argument, got 0");
  EXPECT_EQ(error_of<int>("[1,2]"), "Resize takes 1 argument, got 2");
  const auto parsed = parse_arguments<int, std::optional<int>, std::optional<std::string>>("[1]", "Resize");
  ASSERT_TRUE(parsed);
  EXPECT_EQ(*parsed, (std::tuple<int, std::optional<int>, std::optional<std::string>>{1, std::nullopt, std::nullopt}));
  EXPECT_EQ((parse_arguments<int, std::optional<int>>("[]", "Resize").error().message()),
            "Resize takes 1 to 2 arguments, got 0");
  EXPECT_EQ((parse_arguments<std::optional<int>, int>("[1]", "Resize").error().message()),
            "Resize takes 2 arguments, got 1");
  EXPECT_TRUE(parse_arguments<>("[ ]"));
  EXPECT_FALSE(parse_arguments<>("[1]"));
}

TEST(Arguments, what_is_no_array_is_refused) {
  EXPECT_EQ(error_of<int>("{}"), "arguments of Resize: expected an array at byte 0");
  EXPECT_EQ(error_of<int>("[1"), "arguments of Resize: unexpected end at byte 2");
  EXPECT_EQ(error_of<int>("[1] 2"), "arguments of Resize: more after the end at byte 4");
  EXPECT_EQ(error_of<int>(std::string(600, '[')), "arguments of Resize: nested deeper than the limit at byte 512");
}

TEST(Arguments, integers_are_exact_to_the_last_bit) {
  EXPECT_EQ(value_of<std::int64_t>("[9007199254740993]"), 9007199254740993);
  EXPECT_EQ(value_of<std::int64_t>("[-9223372036854775808]"), std::numeric_limits<std::int64_t>::min());
  EXPECT_EQ(value_of<std::uint64_t>("[18446744073709551615]"), std::numeric_limits<std::uint64_t>::max());
  EXPECT_EQ(value_of<std::uint64_t>("[-0]"), 0U);
  EXPECT_EQ(value_of<int>("[-0]"), 0);
  EXPECT_NE(error_of<std::uint64_t>("[18446744073709551616]"), "accepted");
  EXPECT_NE(error_of<std::int64_t>("[9223372036854775808]"), "accepted");
  EXPECT_EQ(value_of<double>("[9007199254740993]"), 9007199254740992.0);
  EXPECT_EQ(value_of<double>("[0.1]"), 0.1);
  EXPECT_TRUE(std::signbit(value_of<double>("[-0.0]")));
}

TEST(Arguments, text_may_hold_a_nul) {
  EXPECT_EQ(value_of<std::string>(R"(["a\u0000b"])"), std::string("a\0b", 3));
  EXPECT_EQ(encode_arguments(std::string("a\0b", 3)).value(), R"(["a\u0000b"])");
}

TEST(Arguments, single_arguments_can_be_read_without_the_others) {
  const std::string json = R"([1,"x",[ 2 ]])";
  const auto arguments = JobArguments::parse(json, "Resize").value();
  EXPECT_EQ(arguments.size(), 3U);
  EXPECT_EQ(arguments.raw(2), "[ 2 ]");
  EXPECT_EQ(arguments.get<std::string>(1).value(), "x");
  EXPECT_EQ(arguments.get<int>(3).error().message(), "argument 4 of Resize is missing");
  EXPECT_EQ(arguments.get<std::optional<int>>(3).value(), std::nullopt);
}

TEST(Arguments, cpp_values_are_encoded) {
  const std::string text = "q\"\\\n";
  EXPECT_EQ(encode_arguments().value(), "[]");
  EXPECT_EQ(encode_arguments("cat.jpg", std::string_view("x"), text, 640, std::int8_t{-5}, true, 0.5, 2.0, 1e300, -0.0)
                .value(),
            R"(["cat.jpg","x","q\"\\\n",640,-5,true,0.5,2.0,1e+300,-0.0])");
  EXPECT_EQ(encode_arguments(std::vector<std::string>{"a", "b"}, std::optional<int>(), std::optional<int>(3),
                             std::map<std::string, bool>{{"k\"", false}}, RawJson{"{ \"x\":1e400 }"},
                             std::vector<bool>{true}, Point{1, 2})
                .value(),
            R"([["a","b"],null,3,{"k\"":false},{ "x":1e400 },[true],[1,2]])");
  EXPECT_EQ(to_json(std::uint64_t{18446744073709551615U}).value(), "18446744073709551615");
}

TEST(Arguments, what_json_cannot_say_is_refused) {
  EXPECT_EQ(encode_arguments(1, std::nan("")).error().message(), "argument 2: JSON has no infinity and no NaN");
  EXPECT_EQ(encode_arguments("\xff").error().message(), "argument 1: text must be UTF-8: \"?\"");
  EXPECT_EQ(encode_arguments(RawJson{"1,2"}).error().message(), "argument 1: not one JSON value: 1,2");
  EXPECT_FALSE(encode_arguments(RawJson{""}));
  EXPECT_FALSE(encode_arguments(RawJson{" 1"}));
}

TEST(Arguments, a_users_type_takes_part) {
  EXPECT_EQ(value_of<std::vector<Point>>("[[[1,2],[3,4]]]"), (std::vector<Point>{{1, 2}, {3, 4}}));
  EXPECT_EQ(error_of<Point>("[[1]]"), "argument 1 of Resize: expected two numbers");
}

RC_GTEST_PROP(Arguments, encoded_values_read_as_themselves, ()) {
  const auto number = *rc::gen::arbitrary<std::int64_t>();
  const auto natural = *rc::gen::arbitrary<std::uint64_t>();
  const auto real = *rc::gen::arbitrary<double>();
  const auto list = *rc::gen::arbitrary<std::vector<std::vector<int>>>();
  const auto map = *rc::gen::container<std::map<std::string, double>>(
      rc::gen::container<std::string>(rc::gen::inRange<char>(0, 127)), rc::gen::arbitrary<double>());
  const auto json = encode_arguments(number, natural, real, list, map);
  RC_ASSERT(json.has_value());
  using Map = std::map<std::string, double>;
  const auto read = parse_arguments<std::int64_t, std::uint64_t, double, std::vector<std::vector<int>>, Map>(*json);
  RC_ASSERT(read.has_value());
  RC_ASSERT(*read == std::tuple(number, natural, real, list, map));
}

}  // namespace
}  // namespace dagverk::jobs
