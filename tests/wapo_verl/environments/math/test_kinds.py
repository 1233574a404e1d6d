"""Kinds of right answers that were refused, and of wrong ones that were paid, each with its whole family.

A family is a name, pairs (gold, answer) that mean the same, and pairs that do not. No processes, no GPU.
"""

from __future__ import annotations

import pytest

from wapo_verl.environments.math.algebra import same_expression
from wapo_verl.environments.math.equivalence import EQUAL, compare

Pair = tuple[str, str]
RIGHT: dict[str, list[Pair]] = {}
WRONG: dict[str, list[Pair]] = {}

RIGHT["Python's power"] = [
    ("x^2-1", "x**2-1"), ("x^2-1", "x ** 2 - 1"), ("x^2-1", "**x**2-1**"), ("x^2-1", "(x-1)**1*(x+1)"),
    ("2^{10}", "2**10"), ("1024", "2**10"), ("x^{10}", "x**10"), ("x^{-1}", "x**-1"), (r"\frac1x", "x**(-1)"),
    (r"\sqrt{x}", "x**(1/2)"), (r"\sqrt{x}", "x**0.5"), ("(x+1)^2(x-1)^2", "(x+1)**2*(x-1)**2"), ("3R^2", "3*R**2"),
    (r"\frac{1}{8}", "2**(-3)"), ("2^{n+1}", "2**(n+1)"), ("2^{9}", "2**3**2"), ("5", "**5**"), ("5 cm", "**5** cm"),
    ("x=5", "**x = 5**"), ("x^2-1", "y = x**2-1"), ("x^2", "$x**2$"), (r"\frac{x^2}{4}", "x**2/4"),
    ("5x - 7y + 11z + 4 = 0", "**5x - 7y + 11z + 4 = 0**"), ("5r^5", "5*r**5"), ("e^{2x}", "e**(2*x)"), ("6", "**6**."),
]  # fmt: skip
WRONG["Python's power"] = [
    ("2x", "x**2"), ("x^2", "2**x"), ("x^2-1", "x**3-1"), ("x^2-1", "x*2-1"), ("8", "2**4"), ("23", "2**3"),
    ("210", "2**10"), ("x^2", "x**"), ("x", "x**2"), ("5", "5**2"), ("52", "5**2"),
]  # fmt: skip

RIGHT["square and cubic units"] = [
    (r"100\text{ square units}", "100"), ("10", "10 square units"), ("10", "10 sq. units"), ("10", "10 sq units"),
    ("10", r"10\text{ square units}"), ("10", r"10 \text{ sq. units}"), ("10", "10 units^2"),
    ("10", "10 units squared"), ("10", "10 cubic units"), ("10", r"10\text{ cubic units}"), ("10", "10 cu. ft."),
    ("10", "10 sq. ft."), ("10", r"10\ \mathrm{units}^2"), ("10", "10 unit²"), ("10", "10 square feet"),
    ("10", r"10\text{ units}^{2}"), (r"100\text{ square units}", r"100\text{ units}^2"),
    (r"100\text{ square units}", "100 sq. units"), (r"100\text{ square units}", "100 units squared"),
    (r"12\text{ square feet}", "12 ft^2"), ("10", "10 units"), (r"12\text{ cubic inches}", r"12\text{ in}^3"),
    (r"12\text{ cubic inches}", "12 cubic in."), (r"12\pi\text{ square units}", r"12\pi"),
    (r"12\pi", r"12\pi\text{ square units}"), (r"12\pi", r"12\pi square units"),
    (r"\frac{9}{2}\text{ square units}", "4.5"), (r"24\sqrt{3}", r"24\sqrt{3} square units"), ("864", "864 sq in"),
    (r"15\mbox{ cm}^2", "15 sq. cm"), (r"15\mbox{ cm}^2", "15 square centimetres"), ("15", "15 cm squared"),
]  # fmt: skip
WRONG["square and cubic units"] = [
    (r"100\text{ square units}", "10"), ("10", "11 square units"), (r"10\text{ square units}", "10 cubic units"),
    (r"10\text{ square units}", "100"), (r"10\text{ square units}", "10 units"),
    (r"10\text{ square feet}", "10 square inches"), (r"10\text{ square feet}", "10 cubic feet"),
    (r"15\mbox{ cm}^2", "15 cm"), (r"15\mbox{ cm}^2", "15 cubic cm"), ("10", "10 squared"), ("10", "10 square"),
    ("10", "10 square roots"), ("10", "square 10 units"), (r"10\text{ square units}", "10 square units and 3"),
]  # fmt: skip

RIGHT["ordinals"] = [
    ("12", r"12^{\text{th}}"), ("12", "12th"), ("12", r"12^{th}"), ("12", r"12^\text{th}"), ("12", r"12^{\mathrm{th}}"),
    ("12", r"12\text{th}"), ("12", r"12^{\textrm{th}}"), ("12", "$12^{th}$"), ("12", r"12\textsuperscript{th}"),
    ("12", r"12\text{-th}"), ("12", "12-th"), ("21", "21st"), ("22", "22nd"), ("23", "23rd"), ("21", r"21^{\text{st}}"),
    ("12", "12th term"), ("12", r"12^{\text{th}} \text{ day}"), ("12", "**12th**"), ("12", "x = 12th"),
    (r"12^{\text{th}}", "12"), ("12th", "12"), (r"12^{\text{th}}", "12th"), ("1,000", "1,000th"), ("1000", "1000th"),
    ("12", r"12{}^{\text{th}}"), ("12", r"12^{\rm th}"), ("12", r"12^{\operatorname{th}}"), ("n", r"n^{\text{th}}"),
    (r"n+1", r"(n+1)^{\text{th}}"),
]  # fmt: skip
WRONG["ordinals"] = [
    ("12", "13th"), ("12", r"13^{\text{th}}"), (r"12^{\text{th}}", "13"), ("12", "1/12th"), ("12", "12ths"),
    ("12", "12t"), ("12", r"12^{2}"), ("5", "5 tenths"), ("12", r"12^{t}"), ("12", "12h"),
]  # fmt: skip

RIGHT["very small and very large"] = [
    (r"\frac{1}{2004!}", r"\frac{2005}{2005!}"), (r"\frac1{2004!}", r"1/2004!"),
    (r"\frac1{2004!}", r"\frac{2005\cdot2006}{2006!}"), ("10^{-400}", r"\frac{1}{10^{400}}"), ("2^{5000}", "4^{2500}"),
    ("1000!", r"1000\cdot 999!"), ("e^{-1000}", r"\frac1{e^{1000}}"),
    (r"\binom{1000}{500}", r"\binom{999}{499}\cdot 2"), ("3^{2000}", r"9^{1000}"),
    (r"\left(\frac12\right)^{2000}", "2^{-2000}"), (r"\frac{\pi}{2004!}", r"\frac{2005\pi}{2005!}"),
    ("10^{400}+1", "1+10^{400}"), (r"\sqrt{10^{800}}", "10^{400}"), (r"\frac{2006!}{2004!}", r"2005\cdot2006"),
    ("0", "1000!-1000!"), ("9!!", "945"), ("2^{100000}", "4^{50000}"), ("e^{1000}", "e^{999}e"),
    ("4329!", r"4329\cdot4328!"),
]  # fmt: skip
WRONG["very small and very large"] = [
    (r"\frac1{2004!}", r"\frac1{2006!}"), (r"\frac1{2004!}", "0"), ("0", r"\frac1{2004!}"), ("10^{-400}", "10^{-500}"),
    ("2^{5000}", "2^{5001}"), ("1000!", "1001!"), ("e^{-1000}", "e^{-2000}"),
    (r"\binom{1000}{500}", r"\binom{1000}{501}"), (r"\frac{\pi}{2004!}", r"\frac{\pi}{2006!}"),
    ("10^{400}", "10^{400}+1"), ("10^{400}", "10^{401}"), ("0", "10^{-1000}"),
    (r"\frac{1}{2^{2000}}", r"\frac{1}{2^{2001}}"), ("1", r"1+\frac1{2004!}"), ("2004!", r"\frac{1}{2004!}"),
    (r"\infty", "10^{400}"), ("10^{400}", r"\infty"), (r"10^{20}\pi", r"10^{20}\pi+1"), ("4329!", "4329!+1"),
    ("e^{1000}", "e^{1000}+1"), (r"10^{60}\pi", r"10^{60}\pi+1"), (r"2^{90000}\sqrt2", r"2^{90000}\sqrt2+1"),
    ("2^{100000}", "2^{100001}"),
]  # fmt: skip

RIGHT["a function's argument"] = [
    (r"\sin x\cos x", r"\sin x\cdot\cos x"), (r"\sin x\cos x", r"\cos x\cdot\sin x"),
    (r"\sin x\cos x", r"\sin x\times\cos x"), (r"\sin x\cos x", "sin(x)*cos(x)"), (r"\sin x\cos x", "sin x * cos x"),
    (r"\sin x\cos x", r"\sin(x)\cos(x)"), (r"2\sin x\cos x", r"2\cdot\sin x\cdot\cos x"),
    (r"2\sin x\cos x", r"\sin 2x"), (r"x\sin x", r"\sin x\cdot x"), (r"\ln x\ln y", r"\ln x\cdot\ln y"),
    (r"r\cos\theta", r"\cos\theta\cdot r"), (r"\sin^2 x", r"\sin x\cdot\sin x"),
    (r"\sin^2x\cos x", r"\sin x\cdot\sin x\cdot\cos x"), (r"3\log_2 x", r"\log_2 x\cdot 3"),
    (r"\frac{\sin x}{2}", r"\sin x\cdot\frac12"), (r"e^x\sin x", r"e^x\cdot\sin x"),
    (r"\sqrt2\sin x", r"\sin x\cdot\sqrt2"), (r"\tan x\sec x", r"\tan x\cdot\sec x"),
    (r"\sin(2x)\cos(3x)", r"\sin 2x\cdot\cos 3x"),
    (r"\cos\frac{x}{2}\sin\frac{x}{2}", r"\cos\frac x2\cdot\sin\frac x2"), (r"\ln 2\cdot 3", r"3\ln 2"),
    (r"\arctan x\cdot 2", r"2\arctan x"), (r"\sin x+\cos x", r"\cos x + \sin x"),
    (r"\frac{1}{2}\sin 2x", r"\sin x \cdot \cos x"), (r"\sinh x\cosh x", r"\sinh x\cdot\cosh x"),
]  # fmt: skip
WRONG["a function's argument"] = [
    (r"\sin x\cos x", r"\sin(x\cdot\cos x)"), (r"\sin x\cos x", r"\sin x+\cos x"),
    (r"\sin x\cos x", r"\sin x\cdot\cos y"), (r"\sin x\cos x", r"\sin x\cdot\sin x"),
    (r"\sin(x\cos x)", r"\sin x\cdot\cos x"), (r"x\sin x", r"\sin x\cdot y"), (r"\ln x\ln y", r"\ln xy"),
    (r"\sin 2x", r"2\sin x"), (r"\sin^2 x", r"\sin x^2"), (r"3\log_2 x", r"\log_2 (x\cdot 3)"),
    (r"\sin x\cos x", r"-\sin x\cdot\cos x"), (r"\sin 2x", r"\sin x\cdot 2"),
]  # fmt: skip

RIGHT["the imaginary unit"] = [
    ("1+2i", "i(2-i)"), ("1+2i", "(2-i)i"), ("1+2i", r"i\cdot(2-i)"), ("1+2i", "2i+1"), ("2i", "(1+i)^2"),
    ("-1", "i^2"), ("-i", r"\frac1i"), ("-i", "i^3"), ("1", "i^4"), ("i", r"\sqrt{-1}"), (r"i\sqrt3", r"\sqrt{-3}"),
    (r"\sqrt3 i", r"i\sqrt{3}"), ("5", "|3+4i|"), ("5", r"\left|3-4i\right|"), ("-1", r"e^{i\pi}"),
    ("i", r"e^{i\pi/2}"), ("1+2i", r"1+2\mathrm{i}"), (r"1+\sqrt3i", r"2e^{i\pi/3}"), ("6+9i", "3(2+3i)"),
    ("1+274i", "274i+1"), (r"\frac{1+i}{2}", r"\frac{1}{1-i}"), (r"\frac{1}{2}+\frac{i}{2}", r"\frac{1+i}{2}"),
    ("3-4i", "(2-i)^2"), ("x+iy", "x+yi"), ("i", r"\cos 90^\circ+i\sin 90^\circ"),
    (r"2\operatorname{cis}60^\circ", r"1+i\sqrt3"), ("1+2i", "1 + 2*i"), ("2", "(1+i)(1-i)"), ("1,i", r"i, 1"),
]  # fmt: skip
WRONG["the imaginary unit"] = [
    ("1+2i", "i(2+i)"), ("1+2i", "1-2i"), ("1+2i", "2+i"), ("1+2i", "1+2j"), ("-1", "i"), ("1", "i^2"),
    ("2i", "(1-i)^2"), ("i", "-i"), ("5", "3+4i"), ("5", "|3+5i|"), ("1+2i", "1+2"), ("3", "3i"), ("3i", "3"),
    ("i", "1"), ("1+2i", "(1,2)"),
]  # fmt: skip

RIGHT["upright letters and names"] = [
    (r"1-\frac1{\mathrm e}", r"1-\frac1e"), (r"1-\frac1e", r"1-\frac{1}{\mathrm{e}}"), (r"\mathrm{e}^2", "e^2"),
    ("e^2", r"{\rm e}^2"), (r"\sin x", r"\operatorname{sin} x"), (r"\sin x", r"\mathrm{sin}\,x"),
    (r"\arctan x", r"\operatorname{arctan}x"), (r"\ln 2", r"\mathrm{ln}2"), (r"\ln 2", r"\operatorname{ln}(2)"),
    ("2i", r"2\mathrm{i}"), ("2i", r"2\mathrm i"), (r"2\pi", r"2\mathrm{\pi}"), ("x^2", r"\mathrm{x}^2"),
    ("6", r"\operatorname{lcm}(2,3)"), ("6", r"\text{lcm}(2,3)"), ("4", r"\operatorname{gcd}(8,12)"),
    ("10", r"10\ \mathrm{cm}"), ("10", r"10\,\mathrm{m}"), ("10", r"10\,\mathrm m"),
    (r"10\text{ cm}", r"10\operatorname{cm}"), ("x", r"\mathit{x}"), ("12", r"\mathbf{12}"),
    (r"\text{(C)}", r"\mathrm{(C)}"), (r"\text{(C)}", r"\mathrm{C}"), (r"\text{Evelyn}", r"\mathrm{Evelyn}"),
    ("15", r"15\,\mathrm{cm}^2"), ("15", r"15\,\mathrm{cm^2}"), (r"\log_2 3", r"\operatorname{log}_2 3"),
    (r"AB", r"\mathrm{AB}"), ("2x", r"\mathrm{2x}"), (r"\mathrm{e}", "e"), ("3", r"\operatorname{max}(1,3)"),
    (r"\tan x", r"\operatorname{tg} x"), ("60", r"60\,\mathrm{km/h}"), ("f", r"\mathrm{f}"),
]  # fmt: skip
WRONG["upright letters and names"] = [
    (r"1-\frac1{\mathrm e}", r"1-\frac1{e^2}"), (r"\mathrm{e}^2", "e^3"), (r"\mathrm{e}", "2.7"),
    (r"\operatorname{sin}x", r"\cos x"), (r"\mathrm{x}", "y"), (r"10\,\mathrm{cm}", r"10\,\mathrm{m}"),
    (r"\mathrm{e}", r"\mathrm{i}"), (r"\operatorname{lcm}(2,3)", r"\operatorname{gcd}(2,3)"),
    (r"\mathrm{C}", r"\mathrm{D}"), ("5", r"5\mathrm{x}"), ("5", r"5\mathrm{e}"),
]  # fmt: skip

RIGHT["the variable of an interval"] = [
    ("(3,4]", r"3<\lambda\leq4"), ("(3,4]", r"3 < \theta \le 4"), ("(3,4]", "3<x_1<=4"), ("(3,4]", r"3<x_{1}\le4"),
    ("(3,4]", r"4\ge\lambda>3"), ("(3,4]", "3 < λ ≤ 4"), ("(3,4]", r"3<\alpha_1\le 4"), ("(3,4]", r"3<AB\le 4"),
    ("(3,4]", r"\lambda\in(3,4]"), ("(3,4]", "x in (3,4]"), (r"3<\lambda\leq4", "(3,4]"),
    (r"(2,\infty)", r"\lambda>2"), (r"(2,\infty)", "2<m"), (r"(-\infty,2]", r"\theta\leq2"), ("(3,4]", r"3<f(x)\le4"),
    (r"(-\infty,1)\cup(3,\infty)", r"\lambda<1\text{ or }\lambda>3"), (r"(-\infty,1)\cup(3,\infty)", r"a<1 \lor a>3"),
    ("(3,4]", r"3<x'\le4"), (r"[0,\pi)", r"0\le\theta<\pi"), ("(3,4]", r"\{x\mid 3<x\le4\}"),
    ("(3,4]", r"\{\lambda : 3<\lambda\le4\}"), ("(3,4]", r"3<\varphi\leq 4"), ("(3,4]", r"3<x_{\max}\le 4"),
    (r"(2,\infty)", "(2, inf)"), ("(3,4]", r"x\in\left(3,4\right]"), (r"3<\lambda\leq 4", r"4\geq\lambda>3"),
    (r"(0,9)\cup(9,36)", "(0,9) U (9,36)"), ("[3,4]", "3 <= x <= 4"), ("(3,4)", "3 < x < 4"),
]  # fmt: skip
WRONG["the variable of an interval"] = [
    ("(3,4]", r"3<\lambda<4"), ("(3,4]", r"3\le\lambda\le4"), ("(3,4]", r"3<\lambda\le5"), ("(3,4]", r"3>\lambda\ge4"),
    (r"3<\lambda\leq4", r"3<\mu\leq4"), (r"x\in[-2,7]", r"y\in[-2,7]"), (r"x\in[-2,7]", r"-2\le y\le7"),
    (r"x\in(3,4]", r"x\in(3,4)"), ("(3,4]", r"\lambda<3"), (r"(2,\infty)", r"\lambda\ge2"),
    (r"(2,\infty)", r"\lambda<2"), ("(3,4]", r"\lambda\in[3,4]"), ("(3,4]", r"\lambda = 4"),
    (r"(-\infty,1)\cup(3,\infty)", r"\lambda<1"), (r"(-\infty,1)\cup(3,\infty)", r"\lambda<1 \text{ or } \lambda\ge3"),
    ("3<x<4", "3<y<4"), ("(3,4]", r"3<2\lambda\le4"), ("(3,4]", r"\{x\mid 3\le x\le4\}"),
]  # fmt: skip

RIGHT["names on the left"] = [
    ("|AB|=1", "1"), (r"m_{\max}=n^2-n-1", "n^2-n-1"), ("5", r"\frac ab=5"), ("5", r"\frac{a}{b} = 5"),
    (r"\overline{AB}=1", "1"), (r"AB=\sqrt2", r"\sqrt2"), (r"S_{\triangle ABC}=6", "6"),
    (r"\angle ABC = 60^\circ", "60"), (r"m\angle A = 60^\circ", r"60^\circ"), ("f'(x)=2x", "2x"), ("f(x)=2x", "2x"),
    (r"\frac{dy}{dx}=2x", "2x"), ("|z|=5", "5"), ("a_n=2n+1", "2n+1"), ("a_{n+1}=5", "5"), ("S_{10}=55", "55"),
    (r"\lambda_1 = 3", "3"), ("[ABC]=12", "12"), (r"x_{\text{max}}=4", "4"), (r"f_{\min}=4", "4"), ("P(A)=0.5", "0.5"),
    (r"\mathrm{Area}=12", "12"), (r"\text{Area}=12", "12"), (r"\sin\theta=\frac35", "0.6"), ("5", "|AB| = 5"),
    ("5", r"S_{\triangle ABC}=5"), ("5", r"\overline{AB}=5"), ("5", r"\frac{AB}{CD}=5"), ("5", r"\frac{a+b}{c}=5"),
    ("5", "[ABC]=5"), ("5", r"x_{\max} = 5"), ("5", r"\sin\theta = 5"), ("5", r"\text{Area} = 5"), ("5", "Area = 5"),
    ("5", "f(2)+f(3) = 5"), ("5", r"P(X=2)=5"), ("5", "a:b = 5"), ("5", r"\angle ABC = 5"), ("5", "f(g(2)) = 5"),
    ("5", r"f(\frac12)=5"), ("5", r"\lambda_{\min} = 5"), ("5", r"\vec{a}\cdot\vec{b}=5"), ("5", "f^{-1}(3) = 5"),
    ("|AB|=1", "AB=1"), ("|AB|=1", r"\overline{AB}=1"), ("|AB|=1", "|AB|=1.0"),
    (r"m_{\max}=n^2-n-1", r"m_{\max}=n(n-1)-1"), ("5", r"\max f = 5"), ("5", "x = 10/2 = 5"), ("x=5", "x = 10/2 = 5"),
    (r"\mathbf{v}=\begin{pmatrix}1\\2\end{pmatrix}", r"\begin{pmatrix}1\\2\end{pmatrix}"), (r"\|\mathbf{v}\|=5", "5"),
    ("(2,4)", "P = (2,4)"), ("5", "n^2 = 5"), ("5", "abc = 5"), ("5", r"E[X]=5"), (r"\mathbb{E}[X]=5", "5"),
    (r"\det A=5", "5"), ("y=-2x", "-2x"), ("5", r"\sqrt{ab}=5"), (r"5\text{ cm}", r"AB=5\text{ cm}"),
]  # fmt: skip
WRONG["names on the left"] = [
    ("|AB|=1", "2"), (r"m_{\max}=n^2-n-1", "n^2-n"), ("5", r"\frac ab=6"), ("5", r"\frac{2x}{3}=5"), ("5", "2x+3=5"),
    ("5", r"\frac x2=5"), ("5", r"\frac{1}{x}=5"), ("5", r"\sqrt{x}=5"), ("5", "-x=5"), ("5", "x-5=0"), ("5", "2x=10"),
    ("x+y=5", "5"), ("xy=12", "12"), ("x^2+y^2=1", "1"), ("|AB|=1", "|AC|=1"), ("|AB|=1", "CD=1"), ("x=5", "y=5"),
    ("5", "5=6"), ("5", "3x=5"), ("5", "x+1=5"), (r"\frac ab=5", r"\frac ba=5"), ("a_1=5", "a_2=5"),
    (r"m_{\max}=5", r"m_{\min}=5"), ("x=5", "2x=10"), ("5", "x!=5"), ("f(x)=2x", "g(x)=2x+1"), ("5", r"f(x) = 6 = 5"),
    ("5", r"x < 5"), ("5", r"x \ne 5"), ("|AB|=1", "|AB|=-1"),
]  # fmt: skip

RIGHT["a choice with its option's text"] = [
    (r"\text{(C)}", r"\text{(C) }12"), (r"\text{(C)}", "(C) 12"), (r"\text{(C)}", "C) 12"), (r"\text{(C)}", "C. 12"),
    (r"\text{(C)}", "C: 12"), ("C", "(C) 12"), (r"\text{(C)}", r"\textbf{(C)}\ 12"), (r"\text{(C)}", r"\text{C) }12"),
    (r"\text{(C)}", r"\text{(C) 12}"), (r"\text{(C)}", r"(C)\ \frac{1}{2}"), (r"\text{(C)}", r"\textbf{(C) }12"),
    (r"\text{(C)}", "Option C"), (r"\text{(C)}", "choice (C)"), (r"\text{(C)}", r"\text{(C) blue}"),
    (r"\text{(C)}", "(C) blue"), (r"\text{(C)}", r"\boxed{\textbf{(C) }12}"), ("C", "C. 12"), ("C", r"\text{C. }12"),
    (r"\text{(C)}", "(c) 12"), (r"\text{(C)}", "(C) 1, 2"), (r"\text{(C)}", "(C) x = 2"), (r"\textbf{(C)}\ 12", "C"),
    (r"\textbf{(C)}\ 12", "(C)"), (r"\textbf{(C)}\ 12", "12"), (r"\textbf{(C)}\ 12", "(C) 12"),
    ("12", r"\text{(C) }12"), ("12", "(C) 12"), (r"\text{(C)}", "(C) -2"), (r"\text{(C)}", r"\mathrm{(C)}\ 12"),
    (r"\text{(C)}", r"\textbf{C.}\ 12"), (r"\text{(C)}", r"$\textbf{(C)}$ 12"),
    (r"\frac12", r"\textbf{(A)}\ \frac{1}{2}"), ("C", "Option C: 12"), ("C", "The answer is C"), ("C", "Answer: C"),
]  # fmt: skip
WRONG["a choice with its option's text"] = [
    (r"\text{(C)}", r"\text{(D) }12"), (r"\text{(C)}", "(D) 12"), (r"\text{(C)}", "(C) or (D)"),
    (r"\text{(C)}", "(C) (D)"), (r"\text{(C)}", "(C), (D)"), (r"\text{(C)}", "A. 1 B. 2 C. 3"),
    (r"\text{(C)}", "(C) 12 (D) 13"), (r"\text{(C)}", r"\text{(C) }12\text{ or (D) }13"), (r"\text{(C)}", "12"),
    (r"\textbf{(C)}\ 12", "(C) 13"), (r"\textbf{(C)}\ 12", "(D) 12"), (r"\textbf{(C)}\ 12", "13"), ("12", "(C) 13"),
    (r"\text{(C)}", "C+1"), (r"\text{(C)}", "C = 12"), (r"\text{(C)}", "(C) + 1"), (r"\text{(C)}", "B. not C"),
    (r"\text{(C)}", "(B) C"), (r"\text{(C)}", "C and D"), (r"\text{(C)}", "not (C)"), ("C", "D. 12"),
    (r"\text{(C)}", "C or D"),
]  # fmt: skip

RIGHT["mathematics in plain text"] = [
    ("2*pi", r"2\pi"), (r"2\pi", "2*pi"), (r"2\pi", "2pi"), (r"2\pi", "2 pi"), (r"\frac{\pi}{2}", "pi/2"),
    (r"\sqrt2", "sqrt(2)"), (r"\sqrt2", "sqrt 2"), (r"\sqrt{2}", "sqrt2"), (r"2\sqrt3", "2sqrt(3)"),
    (r"2\sqrt3", "2*sqrt(3)"), (r"\frac{3\sqrt{3}}{4}", "3*sqrt(3)/4"), (r"\frac{3\sqrt{3}}{4}", "(3*sqrt(3))/4"),
    (r"\frac{1}{\sqrt3}", "1/sqrt(3)"), (r"\sin x", "sin(x)"), (r"\ln 2", "ln(2)"), (r"\ln 2", "ln 2"),
    (r"\log_2 3", "log_2(3)"), ("3", "log2(8)"), ("3", "log_2 8"), ("e^{2x}", "exp(2x)"), ("e^{2x}", "e^(2x)"),
    ("x^{1/2}", "x^(1/2)"), (r"\frac{x+1}{x-1}", "(x+1)/(x-1)"), (r"\theta", "theta"), (r"2\alpha", "2*alpha"),
    (r"\infty", "infinity"), (r"\infty", "inf"), (r"-\infty", "-inf"), (r"\infty", "oo"),
    (r"(-\infty,3)", "(-inf, 3)"), (r"(-\infty,3)\cup(3,\infty)", "(-inf,3) U (3,inf)"), (r"[2,\infty)", "x >= 2"),
    (r"(-\infty,2]", "x <= 2"), (r"\pm 3", "+/- 3"), (r"\pm3", "±3"), (r"1\pm\sqrt{19}", "1 +/- sqrt(19)"),
    ("2^{n+1}", "2^(n+1)"), ("a_{n+1}", "a_{n+1}"), (r"\arctan 2", "arctan(2)"), (r"\arctan 2", "atan(2)"),
    ("|x|", "abs(x)"), (r"\sqrt[3]{2}", "cbrt(2)"), (r"\sqrt[3]{2}", "2^(1/3)"), (r"\sqrt[3]{2}", "∛2"),
    (r"3\sqrt{13}", "3√13"), (r"\lfloor x\rfloor", "floor(x)"), (r"12\pi", "12*Pi"), (r"i\sqrt3", "i*sqrt(3)"),
    (r"\pi r^2", "pi*r^2"), (r"\frac{1}{2}", "1 / 2"), ("6", "lcm(2,3)"), ("4", "gcd(8, 12)"),
    (r"\frac{\sqrt{6}-\sqrt{2}}{4}", "(sqrt(6) - sqrt(2))/4"), (r"y=2x+3", "y = 2*x + 3"),
    (r"(\frac12,\sqrt3)", "(1/2, sqrt(3))"), (r"x^3+3x-6", "x^3 + 3*x - 6"), (r"\frac{2\pi}{3}", "2*pi/3"),
    (r"\frac{2\pi}{3}", "2/3*pi"), (r"\frac{2\pi}{3}", "(2/3)pi"), (r"\{1,2\}", "{1, 2}"), (r"\cos^2 x", "cos(x)^2"),
    (r"\cos^2 x", "cos^2(x)"), (r"x\ln x", "xln(x)"), (r"x\ln x", "x*ln(x)"), (r"\frac{\pi^2}{6}", "pi^2/6"),
    (r"\pi-3", "pi - 3"), (r"x\ne3", "x != 3"), (r"10^{-3}", "10^(-3)"), (r"\binom{5}{2}", "binom(5,2)"),
]  # fmt: skip
WRONG["mathematics in plain text"] = [
    ("2*pi", r"3\pi"), (r"2\pi", "2*p*i"), (r"2\pi", "2*phi"), (r"\frac{\pi}{2}", "2/pi"), (r"2\sqrt3", "3*sqrt(2)"),
    (r"\sqrt2", "sqrt(3)"), (r"\sin x", "sin(y)"), (r"\sin x", "cos(x)"), (r"\theta", "phi"), (r"\infty", "-inf"),
    (r"[2,\infty)", "x > 2"), (r"\pm3", "+3"), ("e^{2x}", "exp(3x)"), (r"\frac{x+1}{x-1}", "x+1/x-1"),
    (r"\log_2 3", "log_3(2)"), ("|x|", "abs(x)+1"), (r"\frac{3\sqrt{3}}{4}", "3*sqrt(3)/5"),
    (r"\sqrt{23}", r"\sqrt23"), (r"2\pi", "2*pi*r"), ("120", "5!=120 or 121"), (r"\pi", "pie"), ("5", "five"),
]  # fmt: skip

RIGHT["bare braces"] = [
    (r"\pm2021", "{-2021, 2021}"), (r"\{1,2\}", "{2,1}"), ("1,2", "{1,2}"), ("{1,2}", "1,2"), ("{1,2}", r"\{2,1\}"),
    ("5", "{5}"), ("{5}", "5"), (r"\emptyset", "{}"), (r"\{(1,2),(3,4)\}", "{(3,4),(1,2)}"), ("1,-2", "{x=1, x=-2}"),
    (r"\frac12", r"{\frac12}"), ("x+1", "{x+1}"), ("1,-2", r"{1}, {-2}"), (r"\{0,1,2\}", "{0, 1, 2}"),
    ("1,-2", r"x\in{1,-2}"), ("12", "{12}"), (r"1+\sqrt2, 1-\sqrt2", r"{1-\sqrt{2}, 1+\sqrt{2}}"),
]  # fmt: skip
WRONG["bare braces"] = [
    (r"\pm2021", "{-2021, 2020}"), (r"\pm2021", "{2021}"), (r"\{1,2\}", "{1,3}"), ("(1,2)", "{1,2}"),
    ("{1,2}", "(1,2)"), ("5", "{6}"), ("1,2", "{1,2,3}"), ("5", "{5,5}"), ("(1,2)", "{2,1}"), (r"\emptyset", "{0}"),
    ("2", "1{2}"), ("12", "{1}{2}"),
]  # fmt: skip

RIGHT["money and powers of units"] = [
    ("1000.99", "1,000.99$"), ("1000.99", r"1,000.99\$"), ("1000.99", "$1,000.99"), ("1000.99", r"\$1,000.99"),
    ("5", "€5"), ("5", "5€"), ("5", "5 €"), ("5", "£5"), ("5", "¥5"), ("5", "₹5"), ("5", "5 dollars"),
    ("5", "5 euros"), ("5", "5 USD"), ("5", "USD 5"), ("5", "US$5"), ("5", "Rs. 5"), ("5", "Rs 5"), (r"\$5", "5$"),
    (r"\$5", "5 dollars"), (r"\$5", "$5$"), (r"\$5", "5.00"), ("75", "75¢"), ("15", "15 m²"), ("15", "15m²"),
    ("15", "15 cm³"), ("15", "15 km²"), (r"15\text{ cm}^2", "15 cm²"), (r"15\text{ m}^2", "15 m²"), ("15", "15 ft²"),
    (r"€5", "5€"), (r"€5", "5 euros"), ("100", "100 °C"), ("100", "100℃"), (r"\$18.90", "18.90$"),
    (r"\$18.90", "18.90 \\$"), ("-5", "-$5"), ("5", r"\text{Rs. }5"), ("5", r"5\text{ rupees}"), ("15", "15 m**2"),
]  # fmt: skip
WRONG["money and powers of units"] = [
    ("1000.99", "1,000.98$"), (r"\$5", "€5"), (r"\$5", "5 €"), (r"\$5", "£5"), (r"\$5", "5¢"), (r"€5", r"\$5"),
    (r"15\text{ cm}^2", "15 cm³"), (r"15\text{ cm}^2", "15 m²"), ("5", "€6"), ("5", "6$"), ("15", "15²"), ("5", "-$5"),
]  # fmt: skip

RIGHT["a unit behind what is no digit"] = [
    (r"2\pi cm", r"2\pi"), (r"2\pi", r"2\pi cm"), (r"2\pi", r"2\pi\text{cm}"), (r"2\sqrt3", r"2\sqrt{3} cm"),
    (r"2\sqrt3", r"2\sqrt{3}cm"), (r"\frac12", r"\frac{1}{2} m"), (r"\frac12", r"\frac{1}{2}cm"),
    (r"3\sqrt2", r"3\sqrt2 units"), (r"2+\sqrt3", r"(2+\sqrt3) cm"), (r"2\pi", r"2\pi cm^2"), (r"2\pi", r"2\pi\ cm^3"),
    (r"2\pi", "2π cm"), (r"2\pi", "2pi cm"), (r"2\pi", "2*pi cm"), (r"2\pi", r"2\pi radians"), (r"2\pi", r"2\pi m"),
    ("5x", "5x cm"), (r"2\pi cm", r"2\pi\text{ cm}"), (r"2\pi r", r"2\pi r cm"), (r"\sqrt{66} cm", r"\sqrt{66}"),
    (r"2\pi\text{ cm}", "2pi cm"), ("120", "5! ways"), (r"\frac{\pi}{3}", r"\frac{\pi}{3} rad"),
    (r"12\pi", r"12\pi square feet"), (r"2e", "2e cm"),
]  # fmt: skip
WRONG["a unit behind what is no digit"] = [
    (r"2\pi cm", r"3\pi"), (r"2\pi cm", r"2\pi m^2"), (r"2\pi", r"2\pi x"), (r"2\pi r", r"2\pi"), (r"2\pi", r"2\pi r"),
    (r"2\pi cm", r"2\pi mm"), (r"2\sqrt3", r"2\sqrt{3}x"), ("5x", "5x^2 cm"), (r"\sqrt{66}", r"\sqrt{67} cm"),
    (r"2\pi\text{ cm}", r"2\pi\text{ inches}"), ("5m", "5"), ("2mn", "2"), ("5x", "5"),
]  # fmt: skip

RIGHT["a slash before a letter"] = [
    (r"y=-\frac12x+\frac34", "y=-1/2x+3/4"), (r"-\frac12x+\frac34", "-1/2x+3/4"), (r"\frac23x", "2/3x"),
    (r"\frac34x-2", "3/4x-2"), (r"y=\frac23x", "y = 2/3x"), (r"-\frac12x^2", "-1/2x^2"), (r"\frac12(x+1)", "1/2(x+1)"),
    (r"\frac{x}{2}", "1/2 x"), (r"\frac{\pi}{2}", r"1/2\pi"), (r"\frac{\sqrt3}{2}", r"1/2\sqrt{3}"),
    (r"\frac{1}{2x}", "1/2x"), (r"\frac{1}{2x}", "1/(2x)"), (r"\frac{2}{3}ab", "2/3ab"), (r"\frac{x}{2y}", "x/2y"),
    (r"y=\frac14x-\frac52", "y=1/4x - 5/2"), (r"\frac12n(n+1)", "1/2n(n+1)"), (r"\frac{3}{4}x", "(3/4)x"),
    (r"\frac{3x}{4}", "3x/4"), (r"\frac{3x}{4}", "3/4*x"), (r"\frac{x}{2}", "0.5x"), (r"f(x)=\frac12x", "f(x)=1/2x"),
]  # fmt: skip
WRONG["a slash before a letter"] = [
    (r"y=-\frac12x+\frac34", "y=-1/3x+3/4"), (r"y=-\frac12x+\frac34", "y=1/2x+3/4"),
    (r"y=-\frac12x+\frac34", "y=-1/2x-3/4"), (r"\frac{x}{2}", "1/3x"), (r"\frac x2", "1/2y"), (r"\frac{x}{2}", "2/1x"),
    (r"\frac{x}{2}", "1/2x^2"), (r"\frac{x}{2}", "1/(2x)"), (r"\frac{1}{2x}", "(1/2)x"), (r"\frac{1}{2x}", "1/2*x"),
]  # fmt: skip

RIGHT["roots of positive symbols"] = [
    (r"\sqrt{1/n}", r"\frac1{\sqrt n}"), (r"\frac{1}{\sqrt n}", r"\sqrt{\frac1n}"),
    (r"\frac{1}{\sqrt n}", r"\frac{\sqrt n}{n}"), (r"\sqrt{ab}", r"\sqrt a\sqrt b"),
    (r"\sqrt{\frac ab}", r"\frac{\sqrt a}{\sqrt b}"), (r"n\sqrt n", r"\sqrt{n^3}"), (r"n\sqrt n", "n^{3/2}"),
    (r"\sqrt[3]{x^2}", "x^{2/3}"), (r"\frac{1}{\sqrt n}", "n^{-1/2}"), (r"\sqrt{n(n+1)}", r"\sqrt n\sqrt{n+1}"),
    (r"2\sqrt n", r"\sqrt{4n}"), (r"\sqrt{2gh}", r"\sqrt2\sqrt{g}\sqrt{h}"),
    (r"2\pi\sqrt{\frac{L}{g}}", r"\frac{2\pi\sqrt{L}}{\sqrt g}"), (r"\frac{\sqrt{2x}}{x}", r"\sqrt{\frac2x}"),
    (r"\sqrt[4]{x^2}", r"\sqrt{|x|}"), (r"|x|", r"\sqrt{x^2}"),
    (r"\sqrt{x+1}-\sqrt x", r"\frac{1}{\sqrt{x+1}+\sqrt x}"), (r"\sqrt{x^2-1}", r"\sqrt{x-1}\sqrt{x+1}"),
    (r"\sqrt x\cdot\sqrt x", "x"),
]  # fmt: skip
WRONG["roots of positive symbols"] = [
    (r"\sqrt{1/n}", r"\frac{1}{n}"), (r"\sqrt{1/n}", r"\sqrt n"), (r"\sqrt{1/n}", r"\frac1{\sqrt m}"),
    (r"\sqrt{1/n}", r"-\frac1{\sqrt n}"), (r"\sqrt{ab}", r"\sqrt a+\sqrt b"), (r"|x|", "x"), (r"\sqrt{x^2}", "x"),
    ("x", r"\sqrt{x^2}"), (r"\sqrt{a+b}", r"\sqrt a+\sqrt b"), (r"\ln x^2", r"2\ln x"), (r"\ln|x|", r"\ln x"),
    (r"|x-100|", "x-100"), (r"|x-100|", "100-x"), (r"\sqrt{(x-1000)^2}", "1000-x"), (r"\sqrt{n^3}", r"\sqrt{n}"),
]  # fmt: skip

RIGHT["per cent, backticks, degrees in functions"] = [
    (r"28\%", "28 pct"), (r"28\%", "28 pct."), (r"28\%", "28 per cent"), (r"28\%", "28 percent"),
    (r"28\%", r"28\text{ pct}"), (r"28\%", r"28\text{ per cent}"), ("28", "28 pct"), (r"28\%", "0.28"),
    ("0.28", "28 pct"), (r"28\%", "28 %"), (r"28\%", r"28\text{\%}"), (r"28\%", "28 percentage"),
    (r"28\%", r"x = 28\%"), (r"\frac{100}{3}\%", "100/3 percent"), ("13", "`13`"), ("13", "```13```"),
    ("x^2", "`x^2`"), ("13", "`13`."), (r"\frac12", r"`\frac{1}{2}`"), ("13", '"13"'), ("13", "'13'"), ("13", "*13*"),
    ("13", "__13__"), ("13", "“13”"), ("x**2", "`x**2`"), (r"\frac12", r"\sin 30^\circ"),
    (r"\frac12", r"\sin(30^\circ)"), (r"\frac12", r"\cos 60^{\circ}"), ("1", r"\tan 45^\circ"),
    (r"\frac12", "sin(30°)"), (r"\frac12", "sin 30°"), (r"2\sin 15^\circ", r"2\sin\frac{\pi}{12}"),
    (r"\sin 15^\circ", r"\cos 75^\circ"), (r"\frac12", r"\sin 30\degree"), (r"\frac12", "sin(30 degrees)"),
    (r"\tan 20^\circ", r"\cot 70^\circ"), (r"\sin 15^\circ", r"\frac{\sqrt6-\sqrt2}{4}"),
    (r"10\sin 40^\circ", r"10\sin(40^\circ)"), (r"\frac{1}{2}", r"\sin\left(\frac{\pi}{6}\right)"),
    (r"\frac12\%", r"0.5\%"), (r"12.5\%", r"\frac18"),
]  # fmt: skip
WRONG["per cent, backticks, degrees in functions"] = [
    (r"28\%", "29 pct"), (r"28\%", "0.029"), (r"28\%", "2.8 pct"), ("13", "`14`"), ("13", "`13` or `14`"),
    (r"\frac12", r"\sin 30"), (r"\frac12", r"\cos 30^\circ"), (r"\sin 30^\circ", "30"), (r"\tan 45^\circ", "45"),
    (r"\frac{\sqrt2}2", r"\frac{\sqrt2}{2}\%"), (r"0.28", r"0.28\%"), (r"\sin 15^\circ", r"\sin 15"),
    ("1", r"\tan 46^\circ"), (r"30^\circ", r"\sin 30^\circ"),
]  # fmt: skip

RIGHT["units that differ"] = [
    (r"10\text{ seconds}", "10"), (r"10\text{ seconds}", "10 s"), (r"10\text{ seconds}", "10 sec"),
    (r"10\text{ seconds}", "10 seconds later"), (r"60\text{ km/h}", "60 kilometers per hour"),
    (r"60\text{ mph}", "60 miles per hour"), (r"5\text{ apples}", "5"), (r"5\text{ apples}", "5 red apples"),
    (r"5\text{ apples}", r"5\text{ apple}"), (r"10\text{ nanoseconds}", "10 ns"), (r"3\text{ meters}", "3 metres"),
    (r"3\text{ m/s}", r"3\text{ meters per second}"), (r"10\text{ m}^2", "10 square meters"), ("10", "10 nanoseconds"),
    (r"2\text{ decades}", "2"), (r"5\text{ kg}", "5 kilograms"), (r"5\text{ ways}", "5 different ways"),
    (r"7\text{ days}", "7 days"), (r"9\text{ boxes}", "9 boxes"), (r"10\text{ m/s}^2", r"10\text{ m}/\text{s}^2"),
    (r"5\text{ cubic meters}", r"5\text{ m}^3"),
]  # fmt: skip
WRONG["units that differ"] = [
    (r"10\text{ seconds}", r"10\text{ nanoseconds}"), (r"10\text{ seconds}", "10 nanoseconds"),
    (r"10\text{ seconds}", "10 ms"), (r"10\text{ seconds}", "10 apples"),
    (r"10\text{ seconds}", r"10\text{ fortnights}"), (r"5\text{ meters}", r"5\text{ kilometers}"),
    (r"5\text{ meters}", "5 micrometers"), (r"5\text{ apples}", "5 oranges"), (r"5\text{ apples}", "5 cm"),
    (r"60\text{ km/h}", "60 m/s"), (r"60\text{ mph}", "60 miles"), (r"60\text{ mph}", "60 km/h"),
    (r"5\text{ kg}", "5 g"), (r"5\text{ liters}", r"5\text{ milliliters}"), (r"3\text{ dollars}", "3 cents"),
    (r"7\text{ days}", r"7\text{ centuries}"), (r"10\text{ watts}", r"10\text{ kilowatts}"),
    (r"10\text{ joules}", "10 seconds"), (r"2\text{ hours}", r"2\text{ light-years}"),
    (r"2\text{ acres}", r"2\text{ hectares}"), (r"10\text{ m/s}", r"10\text{ m/s}^2"),
    (r"30^\circ", r"30\text{ radians}"), (r"5\text{ seconds}", r"5\text{ zorkmids}"),
    (r"100^\circ\text{C}", r"100^\circ\text{F}"),
]  # fmt: skip

COLUMN = r"\begin{pmatrix} -7 \\ 16 \\ 5 \end{pmatrix}"
RIGHT["a column vector as a tuple"] = [
    (COLUMN, "(-7,16,5)"), (COLUMN, r"\langle -7,16,5\rangle"), (COLUMN, "[-7,16,5]"),
    (COLUMN, r"\left(-7,\ 16,\ 5\right)"), (COLUMN, r"\mathbf{v} = (-7,16,5)"), (COLUMN, "(-7,16,5)^T"),
    (COLUMN, r"\begin{bmatrix}-7\\16\\5\end{bmatrix}"), (COLUMN, r"(-7, 16, 5)^\top"), (r"(-7,16,5)", COLUMN),
    (r"\begin{pmatrix} -1/3 \\ 2/3 \\ 5/3 \end{pmatrix}", r"\left(-\frac13,\frac23,\frac53\right)"),
    (r"\begin{pmatrix}1&2\end{pmatrix}", "(1,2)"), (COLUMN, r"\left(\begin{array}{c}-7\\16\\5\end{array}\right)"),
    (r"\langle 1,2\rangle", "(1,2)"), (COLUMN, r"\left[\begin{matrix}-7\\16\\5\end{matrix}\right]"),
    (COLUMN, r"\begin{pmatrix}-7\\[2pt]16\\5\end{pmatrix}"),
]  # fmt: skip
WRONG["a column vector as a tuple"] = [
    (COLUMN, "(16,-7,5)"), (COLUMN, "(-7,16)"), (COLUMN, "(-7,16,5,0)"), (COLUMN, "-7,16,5"), (COLUMN, r"\{-7,16,5\}"),
    (COLUMN, "(-7,16,6)"), (COLUMN, r"\begin{pmatrix}-7&16&5\end{pmatrix}"),
    (r"[1,2]", r"\begin{pmatrix}1\\2\end{pmatrix}"), ("(1,2]", r"\begin{pmatrix}1\\2\end{pmatrix}"),
    (r"\begin{pmatrix}1&2\\3&4\end{pmatrix}", "(1,2,3,4)"),
    (r"\begin{pmatrix}1&2\\3&4\end{pmatrix}", r"\begin{pmatrix}1&3\\2&4\end{pmatrix}"), (COLUMN, "14"),
    ("(1,2)", "[1,2]"), ("(1,2,3)", "[1,2,3]"), ("[1,2,3]", "(1,2,3)"),
]  # fmt: skip

RIGHT["an exact value beside its rounded one"] = [
    (r"12\pi", r"12\pi \approx 37.7"), (r"12\pi", r"12\pi \approx 37.70"), (r"12\pi", "12π ≈ 37.7"),
    (r"12\pi", r"x = 12\pi \approx 37.7"), (r"12\pi", r"12\pi (\approx 37.7)"),
    (r"12\pi", r"12\pi\text{ or approximately }37.7"), (r"12\pi", r"12\pi, approximately 37.7"),
    ("37.7", r"12\pi \approx 37.7"), (r"\sqrt{66}", r"\sqrt{66}\approx 8.12"), (r"\frac13", r"\frac13\approx 0.333"),
    (r"12\pi", r"12\pi\text{ cm}\approx 37.7\text{ cm}"), (r"12\pi\approx37.7", r"12\pi"), ("350", r"x \approx 350"),
    (r"1\pm\sqrt2", r"1+\sqrt2\approx 2.414, 1-\sqrt2\approx -0.414"), (r"12\pi", r"12\pi \approx 37.699111843"),
    (r"12\pi", r"12\pi \simeq 38"), (r"12\pi", r"37.7\approx 12\pi"), (r"x=12\pi", r"x = 12\pi \approx 37.7"),
    (r"\frac{1}{3}", r"\frac{1}{3}\approx 0.33\ldots"), ("37.7", "approximately 37.7"), ("37.7", r"\approx 37.7"),
    (r"12\pi", r"12\pi \text{ (approximately } 37.7)"),
]  # fmt: skip
WRONG["an exact value beside its rounded one"] = [
    (r"12\pi", r"13\pi \approx 40.8"), (r"12\pi", r"12\pi \approx 40"), (r"12\pi", r"13\pi \approx 37.7"),
    (r"12\pi", "37.7"), (r"12\pi", r"\approx 37.7"), (r"12\pi", r"12\pi \approx 37.7 \approx 50"),
    ("5", r"5\approx 7"), ("5", r"7\approx 5"), ("5", r"5.4\approx 5"), (r"\frac13", r"0.33"),
    (r"12\pi", r"11\pi=12\pi\approx 37.7"), (r"12\pi", r"12\pi\approx 37.7, 5"), (r"12\pi", r"12\pi \approx -37.7"),
    ("37.7", r"13\pi\approx 37.7"), ("5", r"x \approx 6"),
]  # fmt: skip

PAIRS = [(kind, pair) for kind, pairs in RIGHT.items() for pair in pairs]
WRONG_PAIRS = [(kind, pair) for kind, pairs in WRONG.items() for pair in pairs]


@pytest.mark.parametrize(("kind", "pair"), PAIRS)
def test_a_right_answer_is_paid(kind: str, pair: Pair) -> None:
    assert compare(*pair, same_expression) == EQUAL


@pytest.mark.parametrize(("kind", "pair"), WRONG_PAIRS)
def test_a_wrong_answer_is_not_paid(kind: str, pair: Pair) -> None:
    assert compare(*pair, same_expression) != EQUAL


def test_each_kind_has_right_answers_and_wrong_neighbours() -> None:
    assert RIGHT.keys() == WRONG.keys()
    assert all(len(pairs) >= 10 for pairs in (*RIGHT.values(), *WRONG.values()))
