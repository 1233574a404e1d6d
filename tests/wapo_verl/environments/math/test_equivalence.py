"""The table of answers that are the same, and of those that only look so. Algebra in this process, no GPU."""

from __future__ import annotations

import pytest

from wapo_verl.environments.math.algebra import same_expression
from wapo_verl.environments.math.equivalence import DIFFERENT, EQUAL, GOLD_UNPARSED, UNPARSED, compare

SAME = [
    # fractions and decimals
    (r"\frac{1}{2}", r"\dfrac{1}{2}"), (r"\frac{1}{2}", r"\tfrac12"), (r"\frac{1}{2}", "1/2"), (r"\frac{1}{2}", "0.5"),
    (r"\frac{1}{2}", "$\\frac{2}{4}$"), (r"\frac{1}{2}", ".5"), (r"\frac14", r"\frac{1}{4}"), (r"-\frac{3}{8}", "-3/8"),
    (r"-\frac{3}{8}", r"\frac{-3}{8}"), (r"\frac{3}{-8}", r"-\frac38"), (r"\frac{270}7", "270/7"),
    ("326.5", r"\frac{653}{2}"), ("1/3", "0.333333"), ("0.333333", r"\frac13"), (r"137 \frac{1}{2}", "137.5"),
    (r"137 \frac{1}{2}", r"\frac{275}{2}"), (r"137 \frac{1}{2}", "137 1/2"), ("-1 1/2", "-1.5"), ("2.50", "2.5"),
    ("5", "5.0"), ("5", "+5"), ("5", "05"), ("5", "5."), (".0000672", r"6.72 \times 10^{-5}"), (".0000672", "6.72e-5"),
    ("1e3", "1000"), (r"10^{10}", "10000000000"), (r"\frac{\sqrt{3}}{3}", r"\frac{1}{\sqrt{3}}"),
    (r"12\pi", r"12 \cdot \pi"), (r"12\pi", "37.699112"), (r"\frac{3\sqrt{3}}{4}", r"\frac34\sqrt3"), ("5!", "120"),
    (r"\binom{5}{2}", "10"), (r"\sqrt{66}", r"\sqrt{66}"),
    # thousands
    ("58,500", "58500"), ("58500", "58,500"), (r"11,\! 111,\! 111,\! 100", "11111111100"), ("10,080", r"10{,}080"),
    ("10080", r"10\,080"), (r"\$32,\!348", "32348"), (r"\$32,\!348", r"\$32{,}348.00"), ("1,234.5", "1234.5"),
    # writing
    ("5", "$5$"), ("5", r"\(5\)"), ("5", r"\[5\]"), ("5", "$$5$$"), ("5", r"\boxed{5}"), ("5", r"$\boxed{5}$."),
    ("5", "**5**"), (r"11\sqrt2", r"11\sqrt{2}"), (r"\left( 2,4 \right)", "(2,4)"), ("(2,4)", r"\left(2,\ 4\right)"),
    ("-2", "−2"), (r"\sqrt{2}", "√2"), (r"3\sqrt{13}", "3√(13)"), (r"12\pi", "12π"), ("3R^2", "3R²"),
    (r"\frac{1}{2}", "½"), ("x^{12}", "x¹²"),
    # names and equations
    ("x=5", "5"), ("5", "x=5"), ("5", "x = 5"), ("x=5", "x = 5"), ("5", "f(3) = 5"), ("5", "a_1 = 5"), ("5", "a+b = 5"),
    ("5", "2+3 = 5"), ("5", r"x = \frac{10}{2} = 5"), ("y = 2x + 3", "y=3+2x"), ("y = 2x + 3", "2x+3"), ("5", "AB = 5"),
    ("|z-i|=1", "|z - i| = 1"), ("1<x<2 or x>5", "x>5 or 1<x<2"), (r"|3+4i|\cdot2", "10"),
    ("x^2-4x+5=0", "(x-2)^2+1=0"), (r"20\cdot20=400", r"20 \times 20 = 400"),
    ("5x - 7y + 11z + 4 = 0", "5x-7y+11z=-4"), ("5x - 7y + 11z + 4 = 0", "-5x + 7y - 11z - 4 = 0"),
    ("5", "x == 5"), ("5", r"x \equiv 5"), ("5", r"2+3 \equiv 5"), ("350", r"x \approx 350"), (r"\theta = 30", "30"),
    ("f(x) = 2x + 3", "2x + 3"), ("AB = 5", "5"), ("x+y = 5", "x + y = 5"), ("x+y = 5", "y+x=5"), ("a_1 = 5", "5"),
    (r"x \equiv 3 \pmod{7}", r"x \equiv 3 \pmod{7}"),
    # several names: by name in any order, without names in the gold answer's
    ("x=2, y=3", "2, 3"), ("x=2, y=3", "y=3, x=2"), ("x=2, y=3", r"x = 2 \text{ and } y = 3"),
    ("x=1, x=-2", "-2, 1"), ("x=1, 3", "3, 1"), ("a=1,b=2,c=3", "a=1, c=3, b=2"),
    # algebra
    ("x^2-1", "(x-1)(x+1)"), ("x^3+3x-6", "-6 + x^3 + 3x"), (r"\cot x", r"\frac{\cos x}{\sin x}"), ("2k", r"k \cdot 2"),
    ("6+9i", "9i+6"), (r"\log_2 3", r"\frac{\ln 3}{\ln 2}"), ("p-q", "-q+p"), ("xy", "yx"), ("2", "(2)"),
    ("5r^5", "5 r^{5}"),
    # units, money, degrees
    (r"15\mbox{ cm}^2", "15"), (r"15\mbox{ cm}^2", r"15\text{ cm}^2"), (r"15\mbox{ cm}^2", "15 cm^2"),
    ("15", r"15 \text{ m}"), (r"15\mbox{ cm}^2", r"15 \text{ square centimeters}"), ("15", "15 cm"), ("15", "15 m"),
    ("5", r"5\text{ apples}"), (r"864 \mbox{ inches}^2", r"864 \text{ sq in}"), (r"\$18.90", "18.9"),
    ("18.90", r"\$18.90"), (r"\$18.90", "$18.90"), (r"\$18.90", "18.90 dollars"), (r"\text{12 hours}", "12"),
    ("12", "12 hours"), (r"\frac{270}7\text{ degrees}", "270/7"), (r"30^\circ", "30"), ("30", r"30^{\circ}"),
    (r"30^\circ", "30°"), (r"30^\circ", "30 degrees"), (r"30^\circ", r"30 \text{ degrees}"),
    (r"30^\circ", r"30\degree"), (r"30^\circ", r"x = 30^\circ"), ("60 mph", r"60 \text{ miles per hour}"),
    # per cent
    ("50", r"50\%"), (r"50\%", "50"), (r"50\%", "50%"), (r"50\%", "50 percent"), (r"50\%", r"\frac12"),
    ("0.5", r"50\%"), (r"12.5\%", r"12.5\text{ percent}"), (r"\frac{100}{3}", r"\frac{100}{3}\%"),
    # lists, sets, intervals, vectors
    ("1,-2", "-2, 1"), ("1,-2", r"1 \text{ and } -2"), ("1,-2", "1 and -2"), ("1,-2", "x = 1 or x = -2"),
    ("1,-2", r"\{1,-2\}"), ("1,2,3", "3, 2, and 1"), ("100,200", "100, 200"), (r"\{1,2\}", r"\{2,1\}"),
    (r"\{1,2\}", r"x \in \{2, 1\}"), (r"\emptyset", r"\{\}"), (r"1 \pm \sqrt{19}", r"1+\sqrt{19}, 1-\sqrt{19}"),
    (r"1 \pm \sqrt{19}", "x = 1 ± √19"), ("-3, 3", r"\pm 3"), ("0, 3, -3", r"0, \pm 3"), (r"x \in [-2,7]", "[-2,7]"),
    (r"x \in [-2,7]", r"-2 \le x \le 7"), (r"x \in [-2,7]", r"7 \geq x \geq -2"), ("(2,\\infty)", "x > 2"),
    ("(2,\\infty)", "2 < x"), (r"(-\infty,2]", r"x\leq 2"), ("x > 2", "(2,\\infty)"), (r"(2,\infty)", r"(2,+\infty)"),
    (r"(-\sqrt{3}, \sqrt{3})", r"(-3^{1/2}, 3^{1/2})"), (r"(0,9) \cup (9,36)", r"(9,36) \cup (0,9)"),
    (r"(-\infty,1) \cup (3,\infty)", "x < 1 or x > 3"), ("(2,4)", "(x,y) = (2,4)"), ("(2,4)", "(2, 8/2)"),
    (r"\begin{pmatrix} -1/3 \\ 2/3 \end{pmatrix}", r"\begin{pmatrix} -\frac13 \\ \frac23 \end{pmatrix}"),
    (r"\begin{pmatrix} 1 \\ 2 \end{pmatrix}", r"\begin{bmatrix} 1 \\ 2 \end{bmatrix}"),
    (r"\begin{pmatrix} 1 & 2 \\ 3 & 4 \end{pmatrix}", r"\begin{pmatrix}1&2\\3&4\end{pmatrix}"),
    # what is counted
    ("5", "5 positive integers"), ("5", r"5\text{ two-digit numbers}"), ("13", "13 boxes"), ("5", "5 red apples"),
    ("5", r"5\text{ red apples}"),
    (r"\$5", "5 dollars each"),
    # ranges of both sorts, periods, times
    (r"0.\overline{3}", r"\frac13"), ("4/11", r"0.\overline{36}"), (r"0.1\overline{6}", "1/6"),
    ("-2 < x < 3", "3 > x > -2"), (r"6:30 \text{ p.m.}", "6:30 pm"), (r"5\text{ PM}", "5 PM"),
    (r"\mathbb{R}", r"(-\infty, \infty)"), (r"(-\infty,\infty)", "all real numbers"),
    # words, choices, bases, ratios
    (r"\text{Evelyn}", "Evelyn"), (r"\text{Evelyn}", "evelyn"), (r"\text{Evelyn}", r"\textbf{Evelyn}."),
    ("even", r"\text{even}"), (r"\text{no solution}", "No solution"), (r"\text{(C)}", "C"), (r"\text{(C)}", "(C)"),
    (r"\text{(C)}", r"\text{C}"), (r"\text{(C)}", r"\textbf{(C)}"), ("C", "(C)"), (r"\text{(C)}", r"(\text{C})"),
    ("204_5", "204_{5}"), ("204_5", "204"), ("3:2", "3:2"), ("3:2", r"\frac32"),
]  # fmt: skip

NOT_THE_SAME = [
    # sign, rounding, order, ends
    ("5", "-5"), ("5", "6"), ("1/2", "1/3"), (r"\frac{1}{2}", r"\frac{2}{1}"), ("1/3", "0.33"), ("1/3", "0.33333"),
    ("0.33", "1/3"), (r"12\pi", "37.7"), (r"\sqrt{66}", "8.12"), (r"\sqrt{66}", "8.124"), ("0.0000001", "0.0000002"),
    ("0", "0.0000001"), ("100000", "100000.1"), (r"10^{20}", "10^{20}+1"), ("3", "3.1"), ("58,500", "58.500"),
    ("58500", "58,50"), ("1.5", "1,5"), (r"137 \frac{1}{2}", r"\frac{137}{2}"), (r"-1\frac{1}{2}", "-0.5"),
    ("12", "1 2"), ("13", "6 7"), ("(2,4)", "(4,2)"), ("(2,4)", "2,4"), ("2,4", "(2,4)"), ("(2,4)", "[2,4]"),
    ("(3,4]", "[3,4]"), ("(3,4]", "(3,4)"), ("(2,4)", "(2,4,4)"), ("(2,4)", "(2,-4)"), (r"(2,\infty)", r"[2,\infty)"),
    (r"(2,\infty)", r"(-\infty,2)"), (r"(2,\infty)", r"x \ge 2"), (r"(2,\infty)", "x < 2"),
    (r"x \in [-2,7]", r"-2 < x \le 7"), (r"x \in [-2,7]", "(-2,7]"), (r"(0,9) \cup (9,36)", "(0,36)"),
    (r"(0,9) \cup (9,36)", r"(0,9] \cup (9,36)"), (r"(0,9) \cup (9,36)", "(0,9)"),
    (r"(0,9) \cup (9,36)", r"(0,9) \cap (9,36)"),
    # roots missing, too many, twice; stuffing
    ("1,-2", "1"), ("1,-2", "1,2"), ("1,-2", "1,-2,3"), ("1,-2", "1,1,-2"), ("1", "1,-2"), ("1", "1,1"),
    (r"1 \pm \sqrt{19}", r"1+\sqrt{19}"), (r"1+\sqrt{19}", r"1 \pm \sqrt{19}"), ("2", "1 or 2 or 3"), ("2", "1, 2, 3"),
    ("2", r"1 \text{ or } 2"), ("2", "1 and 2"), ("2", "2; 3"), ("2", r"\{1,2\}"), ("2", "1 = 2"), ("2", "3 = 1 = 2"),
    ("2", "x=2, x=3"), ("3", r"\pm 3"), ("2", r"\boxed{1} \boxed{2}"), ("2", r"1 \boxed{2}"), ("2", "2 or so 3"),
    ("2", "[1,2]"), ("2", r"1 \cup 2"), (r"\text{(C)}", "(C) (D)"), (r"\text{(C)}", "A, B, C, D"),
    (r"\text{(C)}", "A B C"), (r"\text{(C)}", "D"), ("C", "D"), (r"\text{(C)}", "c+0"), (r"\text{even}", r"\text{odd}"),
    (r"\text{even}", "even or odd"), (r"\text{even}", "not even"), ("east", "seat"), (r"\text{Evelyn}", "Evelny"),
    # algebra that is not
    ("2k", "2n"), ("3R^2", "3r^2"), ("p-q", "q-p"), ("x^2-1", "(x-1)^2"), (r"\cot x", r"\tan x"), ("6+9i", "6-9i"),
    ("x=5", "y=5"), ("5", "2x+3=5"), ("5", "2x = 5"), ("5", "7 = 5"), ("5", "5 = 7"), ("y = 2x + 3", "y = 2x - 3"),
    ("5x - 7y + 11z + 4 = 0", "5x - 7y + 11z + 5 = 0"), ("5x - 7y + 11z + 4 = 0", "0"), ("5", "5t"), ("5t", "5"),
    ("x^2", "2x"), (r"\infty", r"-\infty"), ("x > 2", "x < 2"),
    # an equation for a number, whatever its sign; a number for an equation
    ("5", "7 == 5"), ("5", "5 == 7"), ("5", "2x+3 == 5"), ("5", r"2x+3 \equiv 5"), ("5", r"99 \equiv 5"),
    ("5", r"5 \equiv 7"), ("5", r"5 \approx 7"), ("5", r"7 \approx 5"), ("350", r"350 \approx 1 \approx 2"),
    ("5", r"7 \simeq 5"), ("5", r"7 \cong 5"), ("5", r"5 \sim 7"), ("5", r"7 \sim 5"), ("5", r"7 \Rightarrow 5"),
    ("5", r"7 \to 5"), ("5", r"5 \ne 7"), ("5", r"7 \neq 5"), ("5", r"7 \iff 5"), ("5", r"7 \implies 5"),
    ("5", r"7 := 5"), ("5", r"5 \propto 7"), ("5", r"7 \rightarrow 5"), ("5", r"5 \leftrightarrow 7"),
    ("5", r"7 \doteq 5"), ("5", "7 -> 5"), ("5", "7 => 5"), ("5", r"7 \mid 5"), ("5", r"5 | 7"), ("5", "7 : 5"),
    ("x^2+y^2=1", "1"), ("xy=12", "12"), ("x+y=5", "5"), ("x+y-z=0", "0"), ("a+b=c", "c"), ("ab=12", "12"),
    # equations without real solutions, and without unknowns, are not all the same
    ("x^2-4x+5=0", "x^2-4x+6=0"), ("x^2+y^2=-1", "x^2+y^2=-2"), ("e^x+e^y=0", "e^x+e^{2y}=0"), ("x^4=-1", "x^6=-1"),
    ("xi+y^2=1", "x=2"), ("It is the plane $2 x+3 y-z=0$.", "m = - 2"),
    (r"20\cdot20=400", r"20\cdot20=500"), (r"20\cdot20=400", r"30\cdot30=900"),
    (r"\int_0^1 x dx=\frac12", r"\int_0^1 x dx=\frac13"),
    ("|z-i|=1", "|z+i|=1"), ("|z-i|", "|z+i|"), ("f'(x)", "f(x)"), ("n>5", "n^2:n>5"),
    ("1<x<2 or x>5", "1<x<2 and x>5"), (r"(1,2)\cup(5,6)", "1<x<2 and 5<x<6"),
    ("-2", "> 0 - 2"), ("(-2,0)", "(> 0 - 2,0)"), ("5", "5 <"), ("5", r"5 \ge"), ("5", r"\le 5"),
    (r"\log_8 4=\frac23", r"\log_8 4=\frac43"), (r"7^{\log_7 3}=3", r"8^{\log_7 3}=3"),
    ("x=2, y=3", "3, 2"), ("a=1,b=2,c=3", "3,1,2"), ("x=2, y=3", "x=3, y=2"), ("x=2, y=3", "2"),
    ("p=3,q=4", r"\{4,3\}"),
    (r"\begin{pmatrix} 1 \\ 2 \end{pmatrix}", r"\begin{pmatrix} 2 \\ 1 \end{pmatrix}"),
    (r"\begin{pmatrix} 1 \\ 2 \end{pmatrix}", r"\begin{pmatrix} 1 & 2 \end{pmatrix}"),
    (r"\begin{pmatrix} 1 \\ 2 \end{pmatrix}", "3"),
    # ranges of both sorts, periods, times
    (r"0.\overline{3}", "0.3"), (r"0.\overline{36}", r"0.3\overline{6}"), ("-2 < x < 3", "3 > x > 2"),
    ("-2 < x < 3", "-2 < y < 3"), ("-2 < x < 3", r"-2 \le x < 3"), (r"5\text{ PM}", "5 am"),
    (r"6:30 \text{ p.m.}", "6:31 pm"), (r"\mathbb{R}", r"[0,\infty)"),
    # what is counted, and what is part of the number
    ("5", "5 pi"), ("5", "5 million"), ("5", r"5\text{ million}"), ("5", "5 dozen"), ("5", "5 sqrt x"), ("5", "5x"),
    ("5", "5 x"), ("5", "5 red apples and 3 green apples"), ("5", "6 red apples"), ("5", "5 boxes 7"),
    ("5x", "5 boxes"), ("5", "5 thousandths"), ("5", "5 less than zero"), ("5", "5 halves"), ("5", "5 squared"),
    ("5", r"5\text{ squared}"), ("5", r"5\text{ cubed}"), ("5", "5 raised to the fourth"), ("5", "5 negative"),
    ("5", r"5 \text{ to the fourth}"), ("5", "5 not"), ("5", "5 lakh"), ("5", "5 tens"), ("5", "5 crore"),
    ("350", r"350\text{ below zero}"), ("350", r"350\text{ in base seven}"), ("350", "350 maybe seven"),
    ("5", "5 choose two"), ("5", r"5\text{ hundred}"), ("5", "5 percent of seven"), ("5", "5 seven"),
    # no thousands
    ("350", "0,350"), ("350", "0{,}350"), ("120", "0,120"), (r"120^\circ", r"0,120^\circ"), ("350", r"0,\!350"),
    # units, per cent, degrees, bases
    (r"10\text{ seconds}", r"10\text{ minutes}"), (r"15\mbox{ cm}^2", "15 m^2"), (r"15\mbox{ cm}^2", r"15\text{ cm}^3"),
    (r"\$5", "5 cents"), (r"15\mbox{ cm}^2", "16 cm^2"), (r"30^\circ", "30 radians"), (r"30^\circ", r"\frac{\pi}{6}"),
    (r"\frac{1}{2}", "50"), ("50", r"\frac{1}{2}"), (r"\frac{1}{2}", r"\frac{1}{2}\%"), ("0.5", r"0.5\%"),
    (r"0.5\%", "0.5"), (r"50\%", "5"), (r"50\%", r"5\%"), ("204_5", "54"), ("204_5", "204_6"), ("204_5", "205_5"),
    ("204", "204_5"), ("3:2", "2:3"),
]  # fmt: skip

UNREADABLE = [
    ("5", ""), ("5", "?"), ("5", "five}"), ("5", "(5"), ("5", "\\frac{1}{"), ("5", "5" * 2_000), ("5", "\u0665"),
    ("5", "\uff15"), ("12", "1\u200b2"), ("5", "5\u0000"), ("5", "答案是5"), (r"\frac{1}{2}", "\\frac{\u0661}{2}"),
    ("A", "\u0410"), (r"\sqrt{2}", r"\frac{}{}"), ("7", r"6} \boxed{7"), ("x", "1 2 x $ 3"),
]  # fmt: skip


@pytest.mark.parametrize(("gold", "answer"), SAME)
def test_the_same(gold: str, answer: str) -> None:
    assert compare(gold, answer, same_expression) == EQUAL


@pytest.mark.parametrize(("gold", "answer"), NOT_THE_SAME)
def test_not_the_same(gold: str, answer: str) -> None:
    assert compare(gold, answer, same_expression) in (DIFFERENT, UNPARSED)


@pytest.mark.parametrize(("gold", "answer"), UNREADABLE)
def test_unreadable(gold: str, answer: str) -> None:
    assert compare(gold, answer, same_expression) == UNPARSED


ALONE = [
    *[(pair, True) for pair in [("204_5", "204_6"), ("1,-2", "-2, 1, 1"), ("2, 3", "(2,3)"), ("5", "2x+3=5")]],
    *[(pair, True) for pair in [("0.0000001", "0.0000002"), ("3R^2", "3r^2"), ("5", "5t"), ("13", "6 7")]],
    *[(pair, True) for pair in [(r"10 \text{ seconds}", r"10 \text{ minutes}"), ("east", "seat")]],
    *[(pair, False) for pair in [("1/2", r"50\%"), ("[-2,7]", r"-2 \le x \le 7"), (r"\frac13", r"0.\overline{3}")]],
]


@pytest.mark.parametrize(("pair", "taken"), ALONE)
def test_what_math_verify_alone_says_of_pairs_that_are_settled_here(pair: tuple[str, str], taken: bool) -> None:
    """The list in the module's docstring: where a new version says otherwise, something here may have become idle."""
    from math_verify import parse, verify

    gold, answer = (parse(f"${text}$", parsing_timeout=None) for text in pair)
    assert verify(gold, answer, timeout_seconds=None) == taken
    assert (compare(*pair, same_expression) == EQUAL) != taken


def test_a_gold_answer_nobody_can_read_is_named_as_such() -> None:
    assert compare(r"\frac{1}{", "5", same_expression) == GOLD_UNPARSED
    assert compare(r"\nonsense{]", r"\sqrt{2}", same_expression) == GOLD_UNPARSED
    assert compare(r"\frac{1}{", r"\frac{1}{", same_expression) == EQUAL
