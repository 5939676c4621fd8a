// epilogue_checks: what an epilogue must have, asked for member by member, so that the compiler names what is missing.
#pragma once
#include <type_traits>
#include <utility>

#include "row_block.cuh"

// PID_HAS(name, expression): a type name<E>, true where the expression compiles for an epilogue `e` of type E.
#define PID_HAS(name, ...)                                              \
    template <class E, class = void>                                    \
    struct name : std::false_type {};                                   \
    template <class E>                                                  \
    struct name<E, std::void_t<decltype(__VA_ARGS__)>> : std::true_type {};

namespace epilogue_checks {
template <class E>
const E& an();
PID_HAS(HasFetched, std::declval<typename E::Fetched>())
PID_HAS(HasRowOperands, std::declval<typename E::RowOperands>())
PID_HAS(HasArrays, static_cast<int>(E::kArrays))
PID_HAS(HasFetchesAhead, static_cast<int>(E::kFetchesAhead))
PID_HAS(HasValues, static_cast<int>(E::kValues))
PID_HAS(HasReadRow, an<E>().row_operands(0, an<Row>(), 0))
PID_HAS(HasRowFactor, an<E>().row_factor(0, an<Row>(), 0, std::declval<const typename E::RowOperands&>()))
PID_HAS(HasFetch, an<E>().fetch(an<RowBlock>()))
PID_HAS(HasRow, an<E>().row(an<RowBlock>(), std::declval<const typename E::Fetched&>(), std::declval<float (&)[E::kValues]>()))
PID_HAS(HasPackedWords, static_cast<int>(E::kPackedWords))
PID_HAS(HasPack, an<E>().pack(an<RowBlock>(), std::declval<const typename E::Fetched&>(), std::declval<float (&)[E::kValues]>(),
                              std::declval<std::uint32_t (&)[E::kPackedWords]>()))
PID_HAS(HasBox, an<E>().box(0u, 0u).plane)
PID_HAS(HasOp, std::declval<typename E::Op>())
PID_HAS(HasArray, E::array(an<typename E::Op>(), 0, 0))
}  // namespace epilogue_checks
#undef PID_HAS

// Of every epilogue. Types, as nvcc calls no function of the host's in a kernel, not even for a constant.
template <class E>
struct CheckedEpilogue {
    static_assert(epilogue_checks::HasFetched<E>::value, "an epilogue needs a type Fetched: what it reads of a row and block beforehand");
    static_assert(epilogue_checks::HasRowOperands<E>::value, "an epilogue needs a type RowOperands: what row_factor() is made of");
    static_assert(epilogue_checks::HasArrays<E>::value, "an epilogue needs kArrays: how many arrays it reads by column");
    static_assert(epilogue_checks::HasFetchesAhead<E>::value, "an epilogue needs kFetchesAhead: how many rows are fetched ahead");
    static_assert(epilogue_checks::HasValues<E>::value, "an epilogue needs kValues: how many values of a row and block a thread has");
    static_assert(epilogue_checks::HasReadRow<E>::value, "an epilogue needs row_operands(group, row, q) -> RowOperands");
    static_assert(epilogue_checks::HasRowFactor<E>::value, "an epilogue needs row_factor(group, row, q, operands) -> float");
    static_assert(epilogue_checks::HasFetch<E>::value, "an epilogue needs fetch(const RowBlock&) -> Fetched");
    static_assert(epilogue_checks::HasRow<E>::value, "an epilogue needs row(const RowBlock&, const Fetched&, float (&v)[kValues])");
    static constexpr bool value = true;
};

// Of one whose results leave by bulk stores.
template <class E>
struct CheckedBoxesEpilogue {
    static_assert(epilogue_checks::HasPackedWords<E>::value, "an epilogue of bulk stores needs kPackedWords: bf16 pairs of a thread, row and block");
    static_assert(epilogue_checks::HasPack<E>::value, "an epilogue of bulk stores needs pack(const RowBlock&, const Fetched&, v, packed)");
    static_assert(epilogue_checks::HasBox<E>::value, "an epilogue of bulk stores needs box(segment, column) -> BoxPlace");
    static constexpr bool value = true;
};

// Of one whose arrays by column are staged.
template <class E>
struct CheckedStagedEpilogue {
    static_assert(epilogue_checks::HasOp<E>::value, "an epilogue whose columns are staged needs a type Op: its parameters");
    static_assert(epilogue_checks::HasArray<E>::value, "an epilogue whose columns are staged needs array(op, group, i) -> const float*");
    static constexpr bool value = true;
};
