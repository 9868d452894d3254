// SPDX-License-Identifier: LGPL-2.1-or-later
// Work for node: functions made from text and run until they are compiled, recursion, objects, strings.
'use strict';

function fib(n) {
    return n < 2 ? n : fib(n - 1) + fib(n - 2);
}

const counts = {};
for (let i = 0; i < 60000; i++) {
    counts['k' + i % 997] = (counts['k' + i % 997] || 0) + i;
}
let sum = 0;
for (let round = 0; round < 30; round++) {
    const work = new Function('n', `let t = ${round}; for (let i = 0; i < n; i++) { t = (t * 31 + i) % 1000003 } return t`);
    sum += work(20000);
}
let text = '';
for (let i = 0; i < 4000; i++) {
    text += JSON.stringify({i, count: counts['k' + i % 997]});
}
console.log(String(fib(24)), String(sum), String(text.length), String(Object.keys(counts).length));
