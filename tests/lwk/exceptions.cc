// Exceptions through several frames, destructors, the standard library, thread-local storage.
#include <algorithm>
#include <iostream>
#include <map>
#include <memory>
#include <numeric>
#include <sstream>
#include <stdexcept>
#include <string>
#include <vector>

static thread_local int unwound = 0;

struct Guard {
    ~Guard() { ++unwound; }
};

static int deep(int n)
{
    Guard guard;
    if (n == 0)
        throw std::out_of_range("the bottom");
    return deep(n - 1) + 1;
}

int main()
{
    for (int depth : {0, 1, 100}) {
        try {
            deep(depth);
        } catch (const std::logic_error &error) {
            std::cout << "caught " << error.what() << " after " << unwound << " frames\n";
        }
    }
    try {
        std::vector<int>().at(3);
    } catch (const std::exception &error) {
        std::cout << "vector: refused\n";
    }
    std::map<std::string, std::unique_ptr<std::vector<double>>> table;
    for (int i = 0; i < 1000; i++) {
        auto row = std::make_unique<std::vector<double>>(i % 17 + 1);
        std::iota(row->begin(), row->end(), i * 0.5);
        table["row" + std::to_string(i % 100)] = std::move(row);
    }
    double sum = 0;
    for (auto &[name, row] : table)
        sum += std::accumulate(row->begin(), row->end(), 0.0);
    std::ostringstream text;
    text.precision(10);
    text << "rows " << table.size() << ", sum " << sum;
    std::cout << text.str() << std::endl;
    return unwound == 104 ? 0 : 1;
}
