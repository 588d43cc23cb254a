mod parsing;
mod serving;
