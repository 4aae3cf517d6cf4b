use proptest::prelude::*;
use serde_json::json;

use super::*;

fn data() -> Value {
    json!({
        "dataType": "invoices", "amount": 1_000, "rate": 0.5, "big": 9_007_199_254_740_993_u64,
        "paid": true, "note": null, "lines": [{ "sku": "a" }], "text": "1000",
    })
}

#[track_caller]
fn check(expected: bool, condition: Condition) {
    let (data, filter) = (data(), Filter::from(condition));
    assert_eq!(filter.holds(Some(&data)), expected, "{filter:?}");
    assert_eq!(filter.unmet(Some(&data)).is_none(), expected, "{filter:?}");
}

#[test]
fn values_are_equal_if_their_types_are_too() {
    check(true, Condition::equals("/dataType", "invoices"));
    check(false, Condition::equals("/dataType", "Invoices"));
    check(true, Condition::equals("/amount", 1_000));
    check(true, Condition::equals("/amount", 1_000.0));
    check(false, Condition::equals("/amount", "1000"));
    check(false, Condition::equals("/text", 1_000));
    check(true, Condition::equals("/paid", true));
    check(false, Condition::equals("/paid", 1));
    check(true, Condition::equals("/note", Value::Null));
    check(false, Condition::equals("/missing", Value::Null));
    check(false, Condition::equals("/lines", "a"));
    check(true, Condition::equals("/lines/0/sku", "a"));
    check(true, Condition::one_of("/dataType", ["bills", "invoices"]));
    check(false, Condition::one_of("/dataType", ["bills"]));
    check(true, Condition::one_of("/amount", [json!("x"), json!(1e3)]));
}

#[test]
fn only_numbers_have_an_order() {
    check(false, Condition::gt("/amount", 1_000));
    check(true, Condition::gte("/amount", 1_000));
    check(true, Condition::lte("/amount", 1_000));
    check(false, Condition::lt("/amount", 1_000));
    check(true, Condition::gt("/amount", 999.9));
    check(true, Condition::lt("/rate", 1));
    check(false, Condition::gte("/text", 0));
    check(false, Condition::lt("/note", 1));
    check(false, Condition::lt("/missing", 1));
}

/// 2^53 and 2^53 + 1 are one number in double precision.
#[test]
fn large_integers_are_told_apart() {
    let two_to_53 = 9_007_199_254_740_992_u64;
    check(false, Condition::equals("/big", two_to_53));
    check(true, Condition::equals("/big", two_to_53 + 1));
    check(true, Condition::gt("/big", two_to_53));
    check(false, Condition::lte("/big", two_to_53));
}

#[test]
fn null_exists_and_an_event_without_data_has_nothing() {
    check(true, Condition::exists("/note"));
    check(false, Condition::missing("/note"));
    check(true, Condition::missing("/missing"));
    check(true, Condition::exists(""));
    for (expected, condition) in [
        (true, Condition::missing("/a")),
        (true, Condition::missing("")),
        (false, Condition::exists("")),
        (false, Condition::equals("", Value::Null)),
        (false, Condition::lt("/a", 1)),
    ] {
        assert_eq!(Filter::from(condition).holds(None), expected);
    }
}

#[test]
fn all_and_any_combine_conditions() {
    let (yes, no) = (Condition::exists("/note"), Condition::missing("/note"));
    let data = data();
    let holds = |filter: Filter| filter.holds(Some(&data));
    assert!(holds(Filter::all([yes.clone(), yes.clone()])));
    assert!(!holds(Filter::all([yes.clone(), no.clone()])));
    assert!(holds(Filter::any([no.clone(), yes.clone()])));
    assert!(!holds(Filter::any([no.clone(), no.clone()])));
    let nested = |inner: Condition| {
        Filter::all([Filter::from(yes.clone()), Filter::any([no.clone(), inner])])
    };
    assert!(holds(nested(yes.clone())));
    assert!(!holds(nested(no.clone())));
}

#[test]
fn the_first_condition_that_fails_is_named_with_what_was_found() {
    let data = data();
    let (large, bills) = (
        Condition::gt("/amount", 5_000),
        Condition::equals("/dataType", "bills"),
    );
    let filter = Filter::all([
        Filter::from(Condition::exists("/note")),
        Filter::any([large.clone(), bills.clone(), bills.clone()]),
        Filter::from(bills),
    ]);
    let unmet = filter.unmet(Some(&data)).unwrap();
    assert_eq!((unmet.condition, unmet.alternatives), (&large, 2));
    assert_eq!(unmet.found, Some(&json!(1_000)));
    assert_eq!(filter.unmet(None).unwrap().found, None);
}

#[test]
fn a_filter_out_of_bounds_is_refused() {
    let condition = || Filter::from(Condition::exists("/a"));
    let nested = |levels| (0..levels).fold(condition(), |inner, _| Filter::any([inner]));
    assert_eq!(nested(MAX_FILTER_DEPTH).check(), Ok(()));
    assert_eq!(
        nested(MAX_FILTER_DEPTH + 1).check(),
        Err(InvalidFilter::TooDeep)
    );
    // Conditions are counted in the whole tree.
    let wide = |count| Filter::all([Filter::All(vec![condition(); count]), condition()]);
    assert_eq!(wide(MAX_FILTER_CONDITIONS - 1).check(), Ok(()));
    assert_eq!(
        wide(MAX_FILTER_CONDITIONS).check(),
        Err(InvalidFilter::TooManyConditions)
    );
    let empty = Filter::all([condition(), Filter::Any(Vec::new())]);
    assert_eq!(empty.check(), Err(InvalidFilter::Empty));
}

#[test]
fn a_condition_that_cannot_hold_or_is_not_understood_is_refused() {
    let check = |condition: Condition| Filter::from(condition).check();
    let one_of = |count| check(Condition::one_of("/a", vec![1; count]));
    assert_eq!(one_of(MAX_LISTED_VALUES), Ok(()));
    let at = || JsonPointer::from("/a");
    assert_eq!(
        one_of(MAX_LISTED_VALUES + 1),
        Err(InvalidFilter::LongList(at()))
    );
    assert_eq!(one_of(0), Err(InvalidFilter::EmptyList(at())));
    let text = |bytes| check(Condition::equals("/a", "x".repeat(bytes)));
    assert_eq!(text(MAX_COMPARED_BYTES), Ok(()));
    assert_eq!(
        text(MAX_COMPARED_BYTES + 1),
        Err(InvalidFilter::LongText(at()))
    );
    for part in [json!([]), json!({ "a": 1 })] {
        let refused = Err(InvalidFilter::NotComparable(at()));
        assert_eq!(check(Condition::equals("/a", part.clone())), refused);
        assert_eq!(check(Condition::one_of("/a", [json!(1), part])), refused);
    }
    let ordered = [Expected::Gt, Expected::Gte, Expected::Lt, Expected::Lte];
    for limit in [json!("5"), json!(null), json!(f64::NAN), json!([1])] {
        for expected in ordered.map(|expected| expected(limit.clone())) {
            let refused = check(Condition::new("/a", expected));
            assert_eq!(refused, Err(InvalidFilter::NotANumber(at())), "{limit}");
        }
    }
    assert!(matches!(
        check(Condition::exists("a")),
        Err(InvalidFilter::Pointer(InvalidPointer::NoSlash(_)))
    ));
}

#[test]
fn a_filter_is_written_as_it_is_documented() {
    let filter = Filter::all([
        Filter::from(Condition::equals("/a", Value::Null)),
        Filter::any([
            Condition::one_of("/b", ["x", "y"]),
            Condition::missing("/c"),
            Condition::gt("/d", 1),
            Condition::gte("/d", 1.5),
            Condition::lt("/d", -1),
            Condition::lte("/d", u64::MAX),
        ]),
    ]);
    let json = json!({ "all": [
        { "pointer": "/a", "equals": null },
        { "any": [
            { "pointer": "/b", "oneOf": ["x", "y"] },
            { "pointer": "/c", "exists": false },
            { "pointer": "/d", "gt": 1 },
            { "pointer": "/d", "gte": 1.5 },
            { "pointer": "/d", "lt": -1 },
            { "pointer": "/d", "lte": u64::MAX },
        ] },
    ] });
    assert_eq!(serde_json::to_value(&filter).unwrap(), json);
    assert_eq!(serde_json::from_value::<Filter>(json).unwrap(), filter);
    let condition: Condition = serde_json::from_str(r#"{"pointer":"","exists":true}"#).unwrap();
    assert_eq!(condition, Condition::exists(""));
}

#[test]
fn json_that_is_no_filter_is_refused_as_a_whole() {
    for wrong in [
        "{}",
        "null",
        "[]",
        r#"{"pointer":"/a"}"#,
        r#"{"equals":1}"#,
        r#"{"pointer":"/a","equals":1,"gt":0}"#,
        r#"{"pointer":"/a","equal":1}"#,
        r#"{"pointer":"/a","exists":"true"}"#,
        r#"{"pointer":"/a","oneOf":1}"#,
        r#"{"pointer":null,"equals":1}"#,
        r#"{"pointer":"/a","equals":1,"equals":2}"#,
        r#"{"all":[],"any":[]}"#,
        r#"{"all":[],"pointer":"/a","equals":1}"#,
        r#"{"all":null,"pointer":"/a","equals":1}"#,
        r#"{"all":{"pointer":"/a","equals":1}}"#,
        r#"{"any":[{"pointer":"/a","equals":1,"note":""}]}"#,
        r#"{"not":[]}"#,
    ] {
        let read = serde_json::from_str::<Filter>(wrong);
        assert!(read.is_err(), "{wrong}: {read:?}");
    }
    assert!(serde_json::from_str::<Condition>(r#"{"all":[]}"#).is_err());
}

#[test]
fn a_condition_reads_like_a_comparison() {
    for (condition, text) in [
        (Condition::equals("/a", "x"), r#"/a = "x""#),
        (Condition::one_of("/a", [1, 2]), "/a one of 1, 2"),
        (Condition::exists(""), "the data exists"),
        (Condition::missing("/a"), "/a is missing"),
        (Condition::gte("/a", 1_000), "/a >= 1000"),
    ] {
        assert_eq!(condition.to_string(), text);
    }
}

fn filter() -> impl Strategy<Value = Filter> {
    let scalar = prop_oneof![
        Just(Value::Null),
        any::<bool>().prop_map(Value::from),
        (0..3_u8).prop_map(Value::from),
        "[ab]".prop_map(Value::from),
    ];
    let condition = ("(/[ab]){0,2}", 0..7, prop::collection::vec(scalar, 1..3));
    let leaf = condition.prop_map(|(pointer, kind, values)| {
        let (first, count) = (values[0].clone(), values.len());
        let expected = match kind {
            0 => Expected::Equals(first),
            1 => Expected::OneOf(values),
            2 => Expected::Exists(count == 1),
            3 => Expected::Gt(first),
            4 => Expected::Gte(first),
            5 => Expected::Lt(first),
            _ => Expected::Lte(first),
        };
        Filter::from(Condition::new(pointer, expected))
    });
    leaf.prop_recursive(3, 12, 3, |inner| {
        let some = || prop::collection::vec(inner.clone(), 0..3);
        prop_oneof![some().prop_map(Filter::All), some().prop_map(Filter::Any)]
    })
}

proptest! {
    #[test]
    fn a_filter_is_read_as_it_was_written_and_names_a_failure_exactly_if_there_is_one(
        filter in filter(),
        data in prop::option::of("[0-2]|\"[ab]\"|\\{\"[ab]\":([0-2]|\"a\"|null)\\}"),
    ) {
        let text = serde_json::to_string(&filter).unwrap();
        prop_assert_eq!(&serde_json::from_str::<Filter>(&text).unwrap(), &filter);
        let data: Option<Value> = data.map(|text| serde_json::from_str(&text).unwrap());
        match filter.unmet(data.as_ref()) {
            Some(unmet) => {
                prop_assert!(!filter.holds(data.as_ref()));
                prop_assert!(!unmet.condition.holds(unmet.found));
                let found = data.as_ref().and_then(|data| unmet.condition.pointer.find(data));
                prop_assert_eq!(unmet.found, found);
            }
            // An `any` that holds nothing fails without a condition; no such filter is put.
            None => prop_assert!(filter.holds(data.as_ref()) || filter.check().is_err()),
        }
    }
}
